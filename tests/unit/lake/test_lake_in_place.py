"""Files registered where they lie."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from voxlake.core.errors import IntegrityError, ItemError, UsageError
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake
from voxlake.sources.phantoms import Phantoms
from voxlake.store.packs import read_member
from voxlake.volumes.series import read_series


@pytest.fixture
def folder(tmp_path: Path, phantoms: Phantoms) -> Path:
    folder = tmp_path / "the pacs"
    for item in phantoms:
        path = folder / item.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(item.read(2**30))
    return folder


def take_in(lake: Lake, *sources: Path, **options: object) -> dict[str, int]:
    return ingest(lake, *sources, policy="none", engine="serial", progress=False, **options).counts


def test_rows_are_the_same_as_of_a_copy_but_for_the_place(
    new_lake: Callable[..., Lake], folder: Path
) -> None:
    copied, registered = new_lake("copied"), new_lake("registered")
    counts = take_in(copied, folder)
    assert counts["stored"] == 32
    assert take_in(registered, folder, in_place=True) == counts
    query = 'select * exclude (pack, "offset", run_id, committed_at) from instances order by sop_instance_uid'
    assert registered.sql(query).rows() == copied.sql(query).rows()
    assert not list(registered.objects.list("packs"))
    for pack, offset, length, digest in registered.sql(
        'select pack, "offset", length, sha256 from instances'
    ).rows():
        data = read_member(registered.objects, pack, offset, length, sha256=digest)
        assert pack.startswith("file:///")
        assert sha256(data).hexdigest() == digest
        assert (offset, length) == (0, len(data))
    assert take_in(registered, folder, in_place=True) == {"seen": 32, "already": 32}


def test_volumes_are_the_same(new_lake: Callable[..., Lake], folder: Path) -> None:
    copied, registered = new_lake("copied"), new_lake("registered")
    take_in(copied, folder)
    take_in(registered, folder, in_place=True)
    for (uid,) in copied.sql("select series_instance_uid from series").rows():
        one, other = read_series(copied, uid), read_series(registered, uid, verified=True)
        np.testing.assert_array_equal(one.numpy(), other.numpy())
        assert one.grid == other.grid
        assert one.lineage == other.lineage


@pytest.mark.parametrize("policy", [None, "basic"])
def test_a_policy_that_changes_files_is_refused(lake: Lake, folder: Path, policy: str | None) -> None:
    with pytest.raises(UsageError, match="policy 'none' only"):
        ingest(lake, folder, policy=policy, in_place=True, engine="serial", progress=False)
    assert len(lake.sql("select * from runs")) == 0


def test_members_of_archives_are_packed(lake: Lake, folder: Path, tmp_path: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "own.dcm").write_bytes(files[0].read_bytes())
    with zipfile.ZipFile(mixed / "more.zip", "w") as archive:
        for number, path in enumerate(files[1:4]):
            archive.writestr(f"{number}.dcm", path.read_bytes())
    assert take_in(lake, mixed, in_place=True) == {"seen": 4, "stored": 4}
    packs = [row[0] for row in lake.sql("select pack from instances").rows()]
    assert sum(pack.startswith("file:") for pack in packs) == 1
    assert sum(pack.startswith("packs/") for pack in packs) == 3


def test_a_mapping_does_not_hide_the_file(lake: Lake, folder: Path, tmp_path: Path) -> None:
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('[[rules]]\npattern = "."\nmodality = "CT"\n')
    take_in(lake, folder, in_place=True, mapping=mapping)
    assert lake.sql("select count(*) from instances where pack like 'file:%'").rows() == [(32,)]


def test_a_file_that_changed_is_told(lake: Lake, folder: Path) -> None:
    take_in(lake, folder, in_place=True)
    uid = lake.sql("select series_instance_uid from series order by 1").rows()[0][0]
    pack = lake.sql("select pack from instances where series_instance_uid = $uid", {"uid": uid}).rows()[0][0]
    path = next(path for path in folder.rglob("*") if path.is_file() and path.as_uri() == pack)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(IntegrityError, match="SHA-256"):
        read_series(lake, uid, verified=True)
    path.write_bytes(data + b"\0")
    with pytest.raises(IntegrityError, match="bytes that it had"):
        read_series(lake, uid)
    path.unlink()
    with pytest.raises((IntegrityError, ItemError), match="cannot be read"):
        read_series(lake, uid)
