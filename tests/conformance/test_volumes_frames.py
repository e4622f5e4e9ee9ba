"""Single frames against whole decoded objects: every test file of pydicom, through a lake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from voxlake.core.errors import ItemError
from voxlake.dicom.decode import decode_pixels
from voxlake.dicom.read import read_dataset
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake
from voxlake.store.packs import read_member
from voxlake.volumes.frames import read_frame

FILES = Path(pydicom.__file__).parent / "data" / "test_files"


@pytest.fixture
def corpus(new_lake: Callable[..., Lake]) -> Lake:
    lake = new_lake()
    ingest(lake, FILES, policy="none", engine="serial", progress=False, in_place=True)
    return lake


def test_each_frame_is_that_of_the_whole_object(corpus: Lake) -> None:
    rows = corpus.sql("select * exclude (tags) from instances where number_of_frames > 0").dicts()
    compared, ranged, syntaxes, refused = 0, 0, set(), []
    for row in rows:
        data = read_member(corpus.objects, row["pack"], row["offset"], row["length"], sha256=row["sha256"])
        try:
            whole = decode_pixels(read_dataset(data))
        except ItemError as error:
            with pytest.raises(ItemError) as caught:
                read_frame(corpus, row["sop_instance_uid"])
            refused.append((caught.value.reason, error.reason))
            continue
        for frame in {0, len(whole) // 2, len(whole) - 1}:
            found = read_frame(corpus, row["sop_instance_uid"], frame)
            assert found.dtype == whole.dtype
            np.testing.assert_array_equal(found, whole[frame])
        compared += 1
        ranged += row["frame_offsets"] is not None
        syntaxes.add(row["transfer_syntax_uid"])
    assert all(found == expected for found, expected in refused)
    # Every kind is there: native in both byte orders, deflated, JPEG, JPEG-LS, JPEG 2000, RLE.
    assert compared > 60
    assert len(syntaxes) >= 8
    assert ranged >= compared - 4
