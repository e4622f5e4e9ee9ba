"""Small synthetic objects."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def _make(values: np.ndarray | None = None, **elements: Any) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = "1.2.3.1"
    dataset.StudyInstanceUID = "1.2.3.2"
    dataset.Modality = "CT"
    if values is not None:
        colour = values.ndim > 2 and values.shape[-1] == 3
        plane = values.shape[:-1] if colour else values.shape
        dataset.Rows, dataset.Columns = plane[-2:]
        if len(plane) > 2:
            dataset.NumberOfFrames = plane[0]
        dataset.SamplesPerPixel = 3 if colour else 1
        dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = values.dtype.itemsize * 8
        dataset.HighBit = dataset.BitsStored - 1
        dataset.PixelRepresentation = int(values.dtype.kind == "i")
        if colour:
            dataset.PlanarConfiguration = 0
        raw = values.tobytes()
        dataset.PixelData = raw + b"\0" * (len(raw) % 2)
        dataset["PixelData"].VR = "OW" if values.dtype.itemsize > 1 else "OB"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def _write(dataset: Dataset) -> bytes:
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@pytest.fixture
def make() -> Callable[..., Dataset]:
    """``make(values, Keyword=value, ...)``: a CT-like data set."""
    return _make


@pytest.fixture
def written() -> Callable[[Dataset], bytes]:
    """``written(dataset)``: the bytes of a DICOM file."""
    return _write
