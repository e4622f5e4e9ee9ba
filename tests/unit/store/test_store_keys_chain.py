"""Keys of several generations, and secrets for sealing only."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import stat
from pathlib import Path

import pytest

from voxlake.core.errors import AlreadyExistsError, IntegrityError, LakeError
from voxlake.store.key_file import SealSecret
from voxlake.store.keys import IDENTITY, LakeKey

A, B, C, D = (bytes(range(start, start + 32)) for start in (0, 32, 64, 96))


def line(kind: str, secret: bytes) -> str:
    return f"voxlake-{kind}-1:{base64.b64encode(secret).decode()}"


def key_file(folder: Path, *lines: str) -> Path:
    file = folder / "key"
    file.write_text("\n".join(lines) + "\n")
    file.chmod(0o600)
    return file


def test_each_generation_takes_the_digest_of_the_one_before() -> None:
    one, both, all_three = LakeKey(A), LakeKey(A, B), LakeKey(A, B, C)
    first = one.mac("source", b"x")
    assert LakeKey(B).mac("source", first) == both.mac("source", b"x")
    assert LakeKey(C).mac("source", both.mac("source", b"x")) == all_three.mac("source", b"x")
    assert [each.mac("uid", b"x") for each in both.generations] == [
        LakeKey(A).mac("uid", b"x"),
        LakeKey(B).mac("uid", b"x"),
    ]
    assert LakeKey(B, A).mac("source", b"x") != both.mac("source", b"x")


def test_the_fingerprint_is_of_all_generations_and_of_nothing_else() -> None:
    first = hmac.new(A, b"fingerprint", hashlib.sha256).digest()
    second = hmac.new(B, b"fingerprint" + first, hashlib.sha256).digest()
    assert LakeKey(A).fingerprint == first.hex()[:16]
    assert LakeKey(A, B).fingerprint == second.hex()[:16]
    assert LakeKey(A, B, seals=[SealSecret(C)]).fingerprint == LakeKey(A, B).fingerprint
    assert len({key.fingerprint for key in (LakeKey(A), LakeKey(B), LakeKey(A, B), LakeKey(B, A))}) == 4


def test_a_file_of_several_lines_is_read_and_written(tmp_path: Path) -> None:
    file = key_file(
        tmp_path, line("key", A), "", line("seal", C), line("key", B), f"{line('seal', D)}:lake-1"
    )
    key = LakeKey.from_file(file, lake="lake-1")
    assert key == LakeKey(A, B, seals=[SealSecret(C), SealSecret(D, "lake-1")])
    assert key != LakeKey(A, B)
    assert key != LakeKey(B, A, seals=[SealSecret(C), SealSecret(D, "lake-1")])
    key.save(tmp_path / "copy")
    assert (tmp_path / "copy").read_text().splitlines() == [
        line("key", A),
        line("key", B),
        line("seal", C),
        f"{line('seal', D)}:lake-1",
    ]
    assert LakeKey.from_file(tmp_path / "copy") == key


@pytest.mark.parametrize(
    "lines",
    [
        [line("seal", A)],
        [line("key", A), line("key", A)],
        [line("key", A), line("seal", A)],
        [line("key", A), "voxlake-key-2:AAAA"],
        [line("key", A), f"{line('seal', B)}:no/lake"],
        [line("key", A), f"{line('seal', B)}:"],
        [line("key", A), "# comment"],
        [line("key", A[:31])],
    ],
)
def test_what_is_no_key_file_is_refused_without_quoting_it(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(LakeError, match="no voxlake key file") as caught:
        LakeKey.from_file(key_file(tmp_path, *lines))
    for each in lines:
        assert each.partition(":")[2][:12] not in str(caught.value) or not each.partition(":")[2]


def test_a_file_is_replaced_at_once_and_stays_private(tmp_path: Path) -> None:
    file = key_file(tmp_path, line("key", A))
    with pytest.raises(AlreadyExistsError):
        LakeKey(A, B).save(file)
    assert LakeKey.from_file(file) == LakeKey(A)
    LakeKey(A, B).save(file, replace=True)
    assert LakeKey.from_file(file) == LakeKey(A, B)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    link = tmp_path / "link"
    link.symlink_to(file)
    LakeKey(A, C).save(link, replace=True)
    assert link.is_symlink()
    assert LakeKey.from_file(file) == LakeKey(A, C)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "link"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = key_file(tmp_path, line("key", A))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LakeError, match="cannot be written: No space left"):
        LakeKey(A, B).save(file, replace=True)
    assert LakeKey.from_file(file) == LakeKey(A)
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_generations_and_successors() -> None:
    key = LakeKey(A, seals=[SealSecret(C)])
    newer = key.with_generation()
    assert newer.follows(key)
    assert newer.follows(LakeKey(A))
    assert not newer.follows(newer)
    assert not newer.with_generation().follows(key)
    assert not newer.follows(LakeKey(B))
    assert not key.follows(newer)
    assert newer.seal_names == (IDENTITY,)


def test_the_envelope_names_its_secret() -> None:
    plain, sealing = LakeKey(A), LakeKey(A, seals=[SealSecret(C)])
    by_identity, by_seal = plain.seal(b"x", context="a"), sealing.seal(b"x", context="a")
    assert (by_identity[:1], by_seal[:1]) == (b"\x01", b"\x02")
    assert len(by_seal) == len(by_identity) + 8
    assert LakeKey.sealed_with(by_identity) == IDENTITY == plain.seal_names[-1]
    assert LakeKey.sealed_with(by_seal[:9]) == by_seal[1:9].hex() == sealing.seal_names[-1]
    assert (
        LakeKey.sealed_with(b"")
        is LakeKey.sealed_with(b"\x03abc")
        is LakeKey.sealed_with(by_seal[:8])
        is None
    )
    assert sealing.unseal(by_identity, context="a") == sealing.unseal(by_seal, context="a") == b"x"
    with pytest.raises(IntegrityError):
        plain.unseal(by_seal, context="a")
    with pytest.raises(IntegrityError):
        LakeKey(A, seals=[SealSecret(D)]).unseal(by_seal, context="a")
    for place in range(len(by_seal)):
        damaged = bytearray(by_seal)
        damaged[place] ^= 1
        with pytest.raises(IntegrityError):
            sealing.unseal(bytes(damaged), context="a")


def test_every_generation_opens_and_the_newest_seals() -> None:
    old, new = LakeKey(A), LakeKey(A, B)
    assert new.unseal(old.seal(b"x", context="a"), context="a") == b"x"
    with pytest.raises(IntegrityError):
        old.unseal(new.seal(b"x", context="a"), context="a")
    assert LakeKey(B).unseal(new.seal(b"x", context="a"), context="a") == b"x"


def test_lakes_that_share_a_file_rotate_alone(tmp_path: Path) -> None:
    file = key_file(tmp_path, line("key", A))
    one = LakeKey.from_file(file, lake="one").with_seal()
    one.save(file, replace=True)
    two = LakeKey.from_file(file, lake="two")
    assert two.seal_names == (IDENTITY,)
    assert two.unseal(one.seal(b"x", context="a"), context="a") == b"x"
    sealed = two.with_seal()
    sealed.save(file, replace=True)
    by_two = sealed.seal(b"y", context="a")
    rotated = LakeKey.from_file(file, lake="one").with_seal()
    assert len(rotated.own_seal_names) == 2
    rotated = rotated.without_old_seals()
    assert len(rotated.own_seal_names) == 1
    assert rotated.own_seal_names != one.own_seal_names
    rotated.save(file, replace=True)
    assert LakeKey.from_file(file, lake="two").unseal(by_two, context="a") == b"y"
    with pytest.raises(IntegrityError):
        LakeKey.from_file(file, lake="one").unseal(one.seal(b"x", context="a"), context="a")


def test_a_seal_secret_of_no_lake_serves_all_that_have_no_own() -> None:
    key = LakeKey(A, seals=[SealSecret(C), SealSecret(D, "one")], lake="two")
    mine = LakeKey(A, seals=[SealSecret(D, "one"), SealSecret(C)], lake="one")
    assert key.seal_names[-1] != mine.seal_names[-1]
    assert len(key.seal_names) == 2
    assert mine.seal_names == (IDENTITY, key.seal_names[-1], mine.own_seal_names[0])


def test_what_was_sealed_before_there_were_other_secrets_still_opens() -> None:
    sealed = bytes.fromhex("01c744e9f50ad6f492e4d33c80342f23112c470eb5dacb02c83d11ba00f85c33c7cc8320")
    for key in (LakeKey(A), LakeKey(A, B), LakeKey(A, seals=[SealSecret(C)])):
        assert key.unseal(sealed, context="a") == b"patient"
