"""Assembly by ranges gives what the general path gives, whatever the header says."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from voxlake.core.errors import ItemError
from voxlake.dicom.read import read_dataset
from voxlake.dicom.scan import scan
from voxlake.dicom.volume import assemble
from voxlake.store.objects import Objects
from voxlake.store.packs import write_pack
from voxlake.volumes.assembly import assemble_stored

ROWS, COLUMNS = 3, 4


@st.composite
def slices(draw: st.DrawFn) -> tuple[list[bytes], bool, str | None]:
    """Files of one series, whether ranges must do, and a modality that somebody hinted."""
    allocated = draw(st.sampled_from([16, 16, 16, 8, 32]))
    stored = draw(st.integers(max(1, allocated - 8), allocated))
    signed = draw(st.booleans())
    syntax = draw(
        st.sampled_from(
            [ExplicitVRLittleEndian] * 3
            + [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
        )
    )
    photometric = draw(st.sampled_from(["MONOCHROME2"] * 4 + ["MONOCHROME1"]))
    modality = draw(st.sampled_from(["CT", "MR", "PT", "OT", None]))
    table = draw(st.integers(0, 9)) == 0
    rescale = st.sampled_from(
        [None, (1, -1024), (1, 0), (2, -3), (-1, 7), (0.5, 0), (1, 0.25), (70000, 70000)]
    )
    same = draw(rescale)
    hinted = "CT" if modality is None and draw(st.booleans()) else None
    files = []
    for number in range(draw(st.integers(1, 3))):
        values = draw(
            st.binary(min_size=ROWS * COLUMNS * allocated // 8, max_size=ROWS * COLUMNS * allocated // 8)
        )
        dataset = header(number, modality, photometric, draw(rescale) if draw(st.booleans()) else same)
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, stored, stored - 1
        dataset.PixelRepresentation = int(signed)
        dataset.RescaleType = draw(st.sampled_from(["HU", "US", None]))
        if table:
            dataset.ModalityLUTSequence = [
                modality_table(signed=signed, values=draw(st.binary(min_size=8, max_size=8)))
            ]
        dataset.add_new(0x7FE00010, "OW" if allocated > 8 else "OB", values)
        files.append(written(dataset, syntax))
    plain = (
        allocated in ((16,) if syntax == ExplicitVRBigEndian else (8, 16))
        and syntax != DeflatedExplicitVRLittleEndian
        and not table
        and (photometric == "MONOCHROME2" or modality in {"CT", "MR", "PT"})
    )
    return files, plain and hinted is None, hinted


def header(
    number: int, modality: str | None, photometric: str, rescale: tuple[float, float] | None
) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    dataset.SOPInstanceUID = f"1.2.3.4.{number + 1}"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    if modality is not None:
        dataset.Modality = modality
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = ROWS, COLUMNS, 1
    dataset.PhotometricInterpretation = photometric
    dataset.PixelSpacing, dataset.SliceThickness = [1, 1], 2
    # Files come in no order of place.
    dataset.ImagePositionPatient = [0, 0, 2 * (number * 2 % 3)]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    if rescale is not None:
        dataset.RescaleSlope, dataset.RescaleIntercept = rescale
    return dataset


def modality_table(*, signed: bool, values: bytes) -> Dataset:
    item = Dataset()
    item.add_new(0x00283002, "SS" if signed else "US", [4, 0, 16])
    item.ModalityLUTType = "HU"
    item.add_new(0x00283006, "OW", values)
    return item


def written(dataset: Dataset, syntax: str) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def catalogued(objects: Objects, files: list[bytes], hinted: str | None) -> list[dict[str, Any]]:
    rows = []
    for data, entry in zip(files, write_pack(objects, files), strict=True):
        row = scan(read_dataset(data), data) | {"format": "dicom"} | vars(entry)
        rows.append(row | ({"modality": hinted} if hinted else {}))
    return rows


@settings(max_examples=100, deadline=None)
@given(slices())
def test_ranges_give_what_the_general_path_gives(series: tuple[list[bytes], bool, str | None]) -> None:
    files, plain, hinted = series
    with TemporaryDirectory() as folder:
        objects = Objects.open(Path(folder))
        rows = catalogued(objects, files, hinted)
        found = assemble_stored(objects, rows, verified=True)
        try:
            expected = assemble(rows, files)
        except ItemError:
            assert found is None
            return
        assert (found is not None) == plain
        if found is not None:
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found.numpy(), expected.numpy())
            assert (found.unit, found.modality, found.grid) == (
                expected.unit,
                expected.modality,
                expected.grid,
            )
            assert found.lineage == expected.lineage
