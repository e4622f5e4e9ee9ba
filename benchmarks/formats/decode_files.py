"""Makes the compressed files that `decode.py` times: a smooth body with noise, 512 x 512, 12 bits in 16."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from scipy.ndimage import gaussian_filter

__all__ = ["CODECS", "write_series"]

FRAMES = 50
_SIDE = 512

CODECS: dict[str, tuple[UID, Callable[[np.ndarray], bytes] | None]] = {
    "htj2k": (HTJ2KLossless, lambda values: bytes(imagecodecs.htj2k_encode(values, reversible=True))),
    "jpeg-ls": (JPEGLSLossless, lambda values: bytes(imagecodecs.jpegls_encode(values))),
    "jpeg-lossless": (
        JPEGLosslessSV1,
        lambda values: bytes(imagecodecs.jpeg8_encode(values, lossless=True, predictor=1, bitspersample=16)),
    ),
    # pydicom's own encoder writes it.
    "rle": (RLELossless, None),
}


def write_series(codec: str, folder: Path) -> None:
    """Write one series of `FRAMES` files, always the same bytes of pixels."""
    syntax, encode = CODECS[codec]
    folder.mkdir(parents=True, exist_ok=True)
    for index, values in enumerate(_slices()):
        dataset = _header(index)
        dataset.PixelData = values.tobytes()
        dataset["PixelData"].VR = "OW"
        if encode is None:
            dataset.compress(syntax, encoding_plugin="pydicom", generate_instance_uid=False)
        else:
            dataset.PixelData = encapsulate([encode(values)])
            dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
            dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(folder / f"{index:03d}.dcm", enforce_file_format=True)


def _slices() -> list[np.ndarray]:
    random = np.random.default_rng(20)
    row, column = np.mgrid[0:_SIDE, 0:_SIDE].astype(float)
    made = []
    for index in range(FRAMES):
        along = index / FRAMES
        body = np.full((_SIDE, _SIDE), -1000.0)
        body[((column - 256) / 220) ** 2 + ((row - 256) / (150 + 20 * along)) ** 2 < 1] = 40
        for centre in (165, 345):
            body[((column - centre) / 75) ** 2 + ((row - 250) / (60 + 50 * along)) ** 2 < 1] = -860
        body[((column - 256) / 25) ** 2 + ((row - 345) / 25) ** 2 < 1] = 420
        noise = gaussian_filter(random.normal(0, 55, body.shape), 0.8)
        made.append(np.clip(gaussian_filter(body, 1.2) + noise + 1024, 0, 4095).round().astype("<u2"))
    return made


def _header(index: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"1.2.3.{index + 1}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.0"
    dataset.Modality, dataset.InstanceNumber = "CT", index + 1
    dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "MONOCHROME2", 1
    dataset.Rows = dataset.Columns = _SIDE
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelSpacing, dataset.SliceThickness = ["0.7", "0.7"], "1"
    dataset.ImagePositionPatient = ["0", "0", str(index)]
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    return dataset
