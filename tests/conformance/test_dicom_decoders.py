"""Compressed transfer syntaxes that the collections lack, against independent decoders."""

from __future__ import annotations

import imagecodecs
import numpy as np
import openjpeg
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, HTJ2KLossless, JPEGExtended12Bit, JPEGLossless, JPEGLSLossless

from voxlake.dicom.codecs import decode_frame
from voxlake.dicom.decode import decode_pixels

SHAPE = (37, 53)


def smooth(low: int, high: int, dtype: str) -> np.ndarray:
    steps = np.random.default_rng(11).integers(-40, 41, SHAPE)
    return np.clip(np.cumsum(steps, axis=1) + (low + high) // 2, low, high).astype(dtype)


def packed(values: np.ndarray, syntax: str, encoded: bytes, stored: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.4", "1.2.5"
    dataset.Modality, dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "CT", "MONOCHROME2", 1
    dataset.Rows, dataset.Columns = values.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, stored, stored - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    dataset.PixelData = encapsulate([encoded])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


def by_gdcm(dataset: Dataset, folder) -> np.ndarray:
    path = folder / "image.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0]


@pytest.mark.parametrize("predictor", range(1, 8))
def test_jpeg_lossless_with_every_predictor(predictor, tmp_path):
    values = smooth(0, 65535, "u2")
    encoded = bytes(imagecodecs.jpeg8_encode(values, lossless=True, predictor=predictor, bitspersample=16))
    dataset = packed(values, JPEGLossless, encoded, 16)
    np.testing.assert_array_equal(decode_pixels(dataset)[0], values)
    np.testing.assert_array_equal(by_gdcm(dataset, tmp_path), values)


@pytest.mark.parametrize("stored", [12, 16])
def test_signed_jpeg_lossless(stored, tmp_path):
    values = smooth(-(2 ** (stored - 1)), 2 ** (stored - 1) - 1, "i2") - 3
    raw = values.view(np.uint16) & (2**stored - 1)
    encoded = bytes(imagecodecs.jpeg8_encode(raw, lossless=True, predictor=1, bitspersample=stored))
    dataset = packed(values, JPEGLossless, encoded, stored)
    assert values.min() < 0
    np.testing.assert_array_equal(decode_pixels(dataset)[0], values)
    if stored == 16:
        np.testing.assert_array_equal(by_gdcm(dataset, tmp_path), values)


def test_signed_jpeg_ls(tmp_path):
    values = smooth(-3000, 3000, "i2")
    dataset = packed(values, JPEGLSLossless, bytes(imagecodecs.jpegls_encode(values.view(np.uint16))), 16)
    assert values.min() < 0
    np.testing.assert_array_equal(decode_pixels(dataset)[0], values)
    np.testing.assert_array_equal(by_gdcm(dataset, tmp_path), values)


def test_jpeg_of_twelve_bits(tmp_path):
    values = smooth(0, 4095, "u2")
    encoded = bytes(imagecodecs.jpeg8_encode(values, level=95, bitspersample=12))
    dataset = packed(values, JPEGExtended12Bit, encoded, 12)
    mine = decode_pixels(dataset)[0].astype(int)
    assert np.abs(mine - by_gdcm(dataset, tmp_path)).max() <= 1
    assert np.abs(mine - values).mean() < 20


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2"])
@pytest.mark.parametrize("reversible", [True, False])
def test_high_throughput_jpeg_2000_against_openjpeg(dtype, reversible):
    limits = np.iinfo(dtype)
    values = smooth(limits.min // 2, limits.max // 2, dtype)
    encoded = bytes(imagecodecs.htj2k_encode(values, 0.001, reversible=reversible))
    mine = decode_frame(encoded, HTJ2KLossless, (*SHAPE, 1), values.dtype.itemsize * 8).values
    other = openjpeg.decode(encoded)
    assert np.abs(mine.astype(int) - other).max() <= (0 if reversible else 1)
    if reversible:
        np.testing.assert_array_equal(mine, values)
