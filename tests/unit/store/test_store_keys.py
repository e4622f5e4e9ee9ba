"""Keys of a lake."""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import pickle
import stat
from pathlib import Path

import pytest

from voxlake.core.errors import AlreadyExistsError, IntegrityError, LakeError, NotFoundError, UsageError
from voxlake.store.keys import LakeKey, default_key_file

SECRET = bytes(range(32))


def _hkdf(secret: bytes, info: bytes) -> bytes:
    """RFC 5869 with SHA-256, no salt, 32 bytes: written from the standard library alone."""
    prk = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    return hmac.new(prk, info + b"\x01", hashlib.sha256).digest()


def test_macs_are_those_of_the_standard_library() -> None:
    key = LakeKey(SECRET)
    expected = hmac.new(_hkdf(SECRET, b"voxlake:1:mac:uid"), b"1.2.3", hashlib.sha256).digest()
    assert key.mac("uid", b"1.2.3") == expected
    assert key.fingerprint == hmac.new(SECRET, b"fingerprint", hashlib.sha256).hexdigest()[:16]


def test_every_purpose_has_its_own_key() -> None:
    key = LakeKey(SECRET)
    assert key.mac("uid", b"x") != key.mac("patient", b"x")
    assert key.mac("uid", b"x") != LakeKey.generate().mac("uid", b"x")
    assert key.mac("uid", b"x") == LakeKey(SECRET).mac("uid", b"x")


def test_saved_and_read_back(tmp_path: Path) -> None:
    key = LakeKey.generate()
    file = tmp_path / "keys" / "lake"
    key.save(file)
    assert LakeKey.from_file(file) == key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    prefix, secret = file.read_text().strip().split(":")
    assert prefix == "voxlake-key-1"
    assert len(base64.b64decode(secret)) == 32
    with pytest.raises(AlreadyExistsError):
        LakeKey.generate().save(file)
    assert LakeKey.from_file(file) == key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "key"
    LakeKey.generate().save(file)
    file.chmod(mode)
    with pytest.raises(LakeError, match=f"chmod 600 {file}"):
        LakeKey.from_file(file)


@pytest.mark.parametrize(
    "text",
    ["", "hello", "voxlake-key-1:", "voxlake-key-1:AAAA", "voxlake-key-2:" + "A" * 43 + "=", "\x00" * 50],
)
def test_what_is_no_key_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(LakeError, match="no voxlake key file") as caught:
        LakeKey.from_file(file)
    assert "AAAA" not in str(caught.value)
    with pytest.raises(NotFoundError):
        LakeKey.from_file(tmp_path / "absent")
    with pytest.raises(LakeError, match="cannot be read"):
        LakeKey.from_file(tmp_path)


def test_seal_and_unseal() -> None:
    key = LakeKey.generate()
    sealed = key.seal(b"patient", context="quarantine/1")
    assert b"patient" not in sealed
    assert sealed != key.seal(b"patient", context="quarantine/1")
    assert len(sealed) == len(b"patient") + 1 + 12 + 16
    assert key.unseal(sealed, context="quarantine/1") == b"patient"
    assert key.unseal(key.seal(b"", context=""), context="") == b""


def test_unseal_refuses_what_was_changed() -> None:
    key = LakeKey(SECRET)
    sealed = key.seal(b"patient", context="a")
    for place in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[place] ^= 1
        with pytest.raises(IntegrityError):
            key.unseal(bytes(damaged), context="a")
    for length in range(len(sealed)):
        with pytest.raises(IntegrityError):
            key.unseal(sealed[:length], context="a")
    with pytest.raises(IntegrityError):
        key.unseal(sealed, context="b")
    with pytest.raises(IntegrityError):
        LakeKey.generate().unseal(sealed, context="a")


def test_the_key_never_leaves() -> None:
    key = LakeKey(SECRET)
    for shown in (repr(key), str(key), f"{key}", str({"key": key})):
        assert SECRET.hex() not in shown
        assert base64.b64encode(SECRET).decode() not in shown
        assert repr(SECRET) not in shown
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(UsageError, match="never sent to another process"):
            leave(key)
    with pytest.raises(LakeError, match="32 bytes, got 31"):
        LakeKey(SECRET[:31])


def test_default_key_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_key_file("ab-12") == tmp_path / ".config" / "voxlake" / "keys" / "ab-12"
    for bad in ("", "../x", "a/b", "a b"):
        with pytest.raises(UsageError):
            default_key_file(bad)
