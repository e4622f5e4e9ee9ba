"""Looking at a key, and rotating the secret that seals: whatever happens in between, everything opens."""

from __future__ import annotations

import base64
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from voxlake.core.errors import IntegrityError, KeyMismatchError, LakeError
from voxlake.lake.ingest import ingest
from voxlake.lake.keys import keys_show
from voxlake.lake.lake import Lake, open_lake
from voxlake.lake.quarantine import quarantine_list, quarantine_show
from voxlake.lake.rotate import keys_rotate
from voxlake.sources.phantoms import Phantoms
from voxlake.store.key_file import write_secrets
from voxlake.store.keys import LakeKey
from voxlake.store.objects import Objects

BAD = 2


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def refused(lake: Lake, tmp_path: Path) -> Lake:
    """A lake with a few items in quarantine."""
    fill(lake, tmp_path / "in")
    return lake


def fill(lake: Lake, folder: Path, start: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(start, start + BAD):
        (folder / f"bad-{number}.dcm").write_bytes(b"no image %d" % number)
    ingest(lake, folder, engine="serial")


def names(lake: Lake) -> list[str]:
    again = open_lake(lake.url, key=lake.key_file, create=False)
    return sorted(
        quarantine_show(again, row["quarantine_id"])["source_name"] for row in quarantine_list(again)
    )


def secrets(lake: Lake) -> list[str]:
    return lake.key_file.read_text().split()


def test_show_tells_everything_but_secrets(refused: Lake) -> None:
    shown = keys_show(refused)
    assert shown == {
        "fingerprint": refused.settings.key_fingerprint,
        "generations": 1,
        "file_mode": "0600",
        "sealing": "identity",
        "sealed": [{"secret": "identity", "objects": BAD}],
    }
    keys_rotate(refused)
    refused.objects.put("quarantine/stranger", b"\x02" + b"12345678" + bytes(40))
    refused.objects.put("quarantine/nothing", b"")
    shown = keys_show(refused)
    assert shown["sealing"] != "identity"
    assert shown["sealed"] == [
        {"secret": "identity", "objects": 0},
        {"secret": shown["sealing"], "objects": BAD},
        {"secret": "unknown", "objects": 2},
    ]
    for line in secrets(refused):
        assert line.split(":")[1] not in str(shown)
        assert base64.b64decode(line.split(":")[1]).hex() not in str(shown)


def test_show_needs_the_key(refused: Lake, tmp_path: Path) -> None:
    without = open_lake(refused.url, key=tmp_path / "absent", create=False)
    for verb in (keys_show, keys_rotate):
        with pytest.raises(KeyMismatchError, match="no key"):
            verb(without)


def test_rotation_changes_what_seals_and_nothing_else(refused: Lake, phantoms: Phantoms) -> None:
    ingest(refused, phantoms, engine="serial")
    before = refused.sql("select * exclude (run_id, committed_at) from instances order by source_mac").rows()
    old = refused.key
    sealed = {path: refused.objects.get(path) for path in refused.objects.list("quarantine")}
    run = keys_rotate(refused)
    assert run.counts == {"seen": BAD, "stored": BAD}
    assert run.balance() == f"{BAD} seen = {BAD} stored"
    assert refused.key.fingerprint == old.fingerprint
    assert names(refused) == [f"bad-{number}.dcm" for number in range(BAD)]
    for path, data in sealed.items():
        assert refused.objects.get(path) != data
        with pytest.raises(IntegrityError):
            old.unseal(refused.objects.get(path), context=path.removeprefix("quarantine/"))
    assert stat.S_IMODE(refused.key_file.stat().st_mode) == 0o600
    assert len(secrets(refused)) == 2
    again = ingest(refused, phantoms, engine="serial")
    assert again.counts == {"seen": 32, "already": 32}
    assert (
        refused.sql("select * exclude (run_id, committed_at) from instances order by source_mac").rows()
        == before
    )


def test_a_second_rotation_forgets_the_first_secret(refused: Lake, tmp_path: Path) -> None:
    keys_rotate(refused)
    first = refused.key
    fill(refused, tmp_path / "in", start=BAD)
    run = keys_rotate(refused)
    assert run.counts == {"seen": 2 * BAD, "stored": 2 * BAD}
    assert run.result["finished_an_earlier_one"] is False
    assert refused.key.seal_names[-1] != first.seal_names[-1]
    assert first.seal_names[-1] not in refused.key.seal_names
    assert len(secrets(refused)) == 2
    assert len(names(refused)) == 2 * BAD


def test_rotation_of_an_empty_quarantine(lake: Lake) -> None:
    assert keys_rotate(lake).counts == {"seen": 0}
    first = lake.key.seal_names
    keys_rotate(lake)
    assert lake.key.seal_names != first


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """End the process before the `step`-th write, of sealed objects and of the key file alike."""
    writes = 0

    def counted(real: Callable[..., None]) -> Callable[..., None]:
        def write(*arguments: object, **named: object) -> None:
            nonlocal writes
            path = str(arguments[1]) if isinstance(arguments[0], Objects) else "key"
            if path == "key" or path.startswith("quarantine/"):
                writes += 1
                if writes == step:
                    raise Killed
            real(*arguments, **named)

        return write

    monkeypatch.setattr(Objects, "put", counted(Objects.put))
    monkeypatch.setattr("voxlake.store.keys.write_secrets", counted(write_secrets))


@pytest.mark.parametrize("rotated_before", [False, True])
@pytest.mark.parametrize("step", [1, 2, 3, BAD + 2])
def test_killed_at_any_write_and_run_again(
    refused: Lake, step: int, rotated_before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if rotated_before:
        keys_rotate(refused)
    before = refused.key.seal_names[-1]
    fingerprint = refused.key.fingerprint
    with monkeypatch.context() as patch:
        kill_at(patch, step)
        with pytest.raises(Killed):
            keys_rotate(refused)
    assert len(names(refused)) == BAD
    assert stat.S_IMODE(refused.key_file.stat().st_mode) == 0o600
    started = open_lake(refused.url, key=refused.key_file).key.seal_names[-1]
    assert (started == before) == (step == 1)
    run = keys_rotate(refused)
    assert sum(run.counts.get(name, 0) for name in ("stored", "already")) == BAD
    assert run.counts.get("already", 0) == (step - 2 if run.result["finished_an_earlier_one"] else 0)
    assert len(names(refused)) == BAD
    assert len(secrets(refused)) == 2
    shown = keys_show(refused)
    assert shown["sealed"][-1] == {"secret": shown["sealing"], "objects": BAD}
    assert shown["sealing"] != before
    assert shown["fingerprint"] == fingerprint
    if step > 1 and (rotated_before or step < BAD + 2):
        assert shown["sealing"] == started


def test_what_does_not_open_is_counted_and_left(refused: Lake) -> None:
    path = min(refused.objects.list("quarantine"))
    damaged = bytearray(refused.objects.get(path))
    damaged[-1] ^= 1
    refused.objects.put(path, bytes(damaged))
    run = keys_rotate(refused)
    assert run.counts == {"seen": BAD, "stored": BAD - 1, "failed": 1}
    assert run.reasons == {"unsealable": 1}
    assert refused.objects.get(path) == bytes(damaged)


def test_lakes_that_share_a_key_file_do_not_lose_each_other(
    new_lake: Callable[..., Lake], tmp_path: Path
) -> None:
    one, two = new_lake("one"), new_lake("two")
    fill(one, tmp_path / "one-in")
    fill(two, tmp_path / "two-in")
    for lake in (one, two, one):
        keys_rotate(lake)
        assert len(names(one)) == len(names(two)) == BAD
    assert len(secrets(one)) == 3


def test_a_key_file_that_others_can_read_is_not_rotated(refused: Lake) -> None:
    refused.key_file.chmod(0o644)
    with pytest.raises(LakeError, match="chmod 600"):
        keys_rotate(refused)
    refused.key_file.chmod(0o600)
    assert LakeKey.from_file(refused.key_file).seal_names == ("identity",)
