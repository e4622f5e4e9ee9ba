"""A CT series of 200 slices of 512x512 from a formula and a seed: what the benchmarks of reading read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

__all__ = ["make"]

SLICES, SIZE = 200, 512
_ROOT = "1.2.826.0.1.3680043.10.543"


def make(folder: Path) -> list[Path]:
    """Write the series, unless it is there; gives the files in slice order."""
    files = [folder / f"{number:04}.dcm" for number in range(SLICES)]
    if files[-1].exists():
        return files
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE]
    body = ((y - 256) / 180) ** 2 + ((x - 256) / 230) ** 2 < 1
    for number, path in enumerate(files):
        lung = body & ((y - 256) ** 2 + (x - 200 - number / 4) ** 2 < 60**2)
        units = np.select([lung, body], [-760, 40], -1000) + random.normal(0, 20, (SIZE, SIZE))
        header = _header(number)
        header.PixelData = (np.clip(units, -1024, 3000) + 1024).astype("<u2").tobytes()
        header.save_as(path, enforce_file_format=True)
    return files


def _header(number: int) -> Dataset:
    dataset, meta = Dataset(), FileMetaDataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = f"{_ROOT}.3.{number + 1}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{_ROOT}.1", f"{_ROOT}.2"
    dataset.FrameOfReferenceUID, dataset.PatientID, dataset.PatientName = f"{_ROOT}.4", "P1", "P1"
    dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.StudyDate, dataset.StudyTime, dataset.Manufacturer = "20200101", "120000", "formula"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, number + 1
    dataset.Rows = dataset.Columns = SIZE
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, -1024, "HU"
    dataset.PixelSpacing, dataset.SliceThickness = [0.7, 0.7], 1.5
    dataset.ImagePositionPatient = [-179, -179, -150 + 1.5 * number]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    return dataset
