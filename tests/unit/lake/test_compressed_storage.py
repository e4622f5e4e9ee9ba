"""`--compress htj2k`: the lake holds less, reads the same, and gives the files back."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from voxlake.core.errors import IntegrityError, NotFoundError, UsageError
from voxlake.dicom.volume import assemble
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake, open_lake
from voxlake.lake.originals import original_bytes, restored
from voxlake.lake.rekey import keys_rekey
from voxlake.lake.sql import sql
from voxlake.store.packs import read_member

SOURCE = "phantoms:?patients=1&slices=8&rows=32&columns=32&second_study=0"
HTJ2K = "1.2.840.10008.1.2.4.201"
COLUMNS = (
    'sop_instance_uid, transfer_syntax_uid, original_transfer_syntax_uid, original_sha256, sha256, "length", '
    'pixel_offset, pixel_length, pack, "offset"'
)


@pytest.fixture
def packed(lake: Lake) -> Lake:
    ingest(lake, SOURCE, compress="htj2k", engine="serial")
    return lake


def rows(lake: Lake) -> list[dict]:
    return sql(lake, f"select {COLUMNS}, * exclude (run_id) from instances order by sop_instance_uid").dicts()


def stored(lake: Lake, row: dict) -> bytes:
    return read_member(lake.objects, row["pack"], row["offset"], row["length"], sha256=row["sha256"])


def test_rows_are_of_what_is_stored_and_name_what_was_there(packed):
    found = rows(packed)
    assert len(found) == 8
    for row in found:
        data = stored(packed, row)
        assert row["transfer_syntax_uid"] == HTJ2K
        assert row["original_transfer_syntax_uid"] == "1.2.840.10008.1.2.1"
        assert row["pixel_length"] is None
        assert data[row["pixel_offset"] :].startswith(b"\xfe\xff\x00\xe0")
        assert '"00280010"' in row["tags"]


def test_originals_come_back_as_they_were_without_compression(packed, tmp_path):
    plain = open_lake(tmp_path / "plain", key=packed.key_file)
    ingest(plain, SOURCE, engine="serial")
    without = {row["sop_instance_uid"]: row for row in rows(plain)}
    for row in rows(packed):
        original = original_bytes(packed, row["sop_instance_uid"])
        assert original == stored(plain, without[row["sop_instance_uid"]])
        assert sha256(original).hexdigest() == row["original_sha256"]
        assert row["length"] < len(original)
        assert original_bytes(plain, row["sop_instance_uid"]) == original


def test_volumes_are_the_same(packed, tmp_path):
    plain = open_lake(tmp_path / "plain", key=packed.key_file)
    ingest(plain, SOURCE, engine="serial")
    volumes = []
    for lake in (packed, plain):
        found = rows(lake)
        series = [row for row in found if row["series_instance_uid"] == found[0]["series_instance_uid"]]
        volumes.append(assemble(series, [stored(lake, row) for row in series]))
    np.testing.assert_array_equal(np.asarray(volumes[0]), np.asarray(volumes[1]))
    assert volumes[0].grid == volumes[1].grid


def test_once_in_the_lake_a_file_is_already_there(packed):
    for compress in (None, "htj2k"):
        run = ingest(packed, SOURCE, compress=compress, engine="serial")
        assert run.counts["already"] == 8
        assert run.counts.get("new", 0) == 0


def test_rekeyed_objects_are_compressed_again(packed, tmp_path):
    keys_rekey(packed, tmp_path / "new", new_key=tmp_path / "new.key", engine="serial")
    new = open_lake(tmp_path / "new", key=tmp_path / "new.key", create=False)
    found = rows(new)
    assert {row["transfer_syntax_uid"] for row in found} == {HTJ2K}
    straight = open_lake(tmp_path / "straight", key=new.key_file)
    ingest(straight, SOURCE, compress="htj2k", engine="serial")
    assert [row["original_sha256"] for row in found] == [row["original_sha256"] for row in rows(straight)]
    for row in found:
        assert sha256(original_bytes(new, row["sop_instance_uid"])).hexdigest() == row["original_sha256"]


def test_what_was_not_there_or_was_changed(packed):
    with pytest.raises(NotFoundError, match="no instance"):
        original_bytes(packed, "1.2.3")
    row = rows(packed)[0]
    with pytest.raises(IntegrityError, match="the original had"):
        restored(stored(packed, row), row | {"original_sha256": "00"})
    with pytest.raises(IntegrityError, match="of transfer syntax"):
        restored(stored(packed, row), row | {"original_transfer_syntax_uid": "1.2.840.10008.1.2"})


def test_files_in_place_stay_as_they_are(lake: Lake, tmp_path: Path):
    with pytest.raises(UsageError, match="leave compress out"):
        ingest(lake, tmp_path, policy="none", in_place=True, compress="htj2k", engine="serial")
