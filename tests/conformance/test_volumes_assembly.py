"""Real series: assembly by ranges against the general path, which decodes whole files."""

from __future__ import annotations

from collections import defaultdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxlake.core.errors import ItemError
from voxlake.dicom.read import looks_like_dicom, read_dataset
from voxlake.dicom.scan import scan
from voxlake.dicom.stacks import split
from voxlake.dicom.volume import assemble
from voxlake.store.objects import Objects
from voxlake.volumes.assembly import assemble_stored

pytestmark = pytest.mark.realdata

# Folder -> how many stacks are assembled by ranges at least.
FOLDERS = {
    "multivendor_dicom": 5,
    "sts_petctmr/dicom/STS_002": 3,
    "pet_raw_suv": 1,
    "dicom_seg_sr_pm": 2,
    "test_only/ibsi_ct_phantom/dicom/image": 1,
}
SLOW = {"multivendor_dicom", "pet_raw_suv"}


def series_in(folder: Path) -> list[list[dict[str, Any]]]:
    """Rows of every series, as of files registered in place."""
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        if not looks_like_dicom(data):
            continue
        try:
            row = scan(read_dataset(data), data)
        except ItemError:
            continue
        place = {"pack": path.as_uri(), "offset": 0, "length": len(data), "sha256": sha256(data).hexdigest()}
        found[row["series_instance_uid"]].append(row | place | {"format": "dicom"})
    return list(found.values())


@pytest.mark.parametrize(
    "folder",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in FOLDERS],
)
def test_ranges_give_what_the_general_path_gives(realdata: Path, tmp_path: Path, folder: str) -> None:
    objects = Objects.open(tmp_path)
    ranged = 0
    for rows in series_in(realdata / folder):
        for stack in split(rows):
            part = [rows[instance] for instance in stack.instances]
            stack = stack.within(stack.instances)  # noqa: PLW2901 - counted in its own rows
            found = assemble_stored(objects, part, stack.verdict, verified=True)
            if found is None:
                continue
            blobs = [Path(row["pack"].removeprefix("file://")).read_bytes() for row in part]
            expected = assemble(part, blobs, stack=stack)
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found.numpy(), expected.numpy())
            assert (found.unit, found.modality, found.grid) == (
                expected.unit,
                expected.modality,
                expected.grid,
            )
            assert found.lineage == expected.lineage
            ranged += 1
    assert ranged >= FOLDERS[folder]
