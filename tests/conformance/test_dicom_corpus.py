"""Every test file of pydicom, against pydicom and against GDCM inside SimpleITK."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.pixels import apply_color_lut, get_decoder, pixel_array

from voxlake.core.errors import ItemError
from voxlake.dicom.decode import decode_pixels
from voxlake.dicom.layout import transfer_syntax
from voxlake.dicom.read import is_dicomdir, read_dataset
from voxlake.dicom.scan import scan

sitk.ProcessObject.SetGlobalWarningDisplay(False)


def folders() -> list[Path]:
    found = [Path(pydicom.__file__).parent / "data" / "test_files"]
    extra = importlib.util.find_spec("data_store")
    if extra is not None and extra.origin is not None:
        found.append(Path(extra.origin).parent / "data")
    return found


FILES = {
    path.relative_to(folder).as_posix(): path
    for folder in folders()
    for path in sorted(folder.rglob("*"))
    if path.is_file() and "__pycache__" not in path.parts
}

# What the files are that do not give an image.
NOT_READ = {
    "README.txt": "not_dicom",
    "crayons.icc": "not_dicom",
    "dicomdirtests/README.txt": "not_dicom",
    "dicomdirtests/TINY_ALPHA/README": "not_dicom",
    "no_meta.dcm": "not_dicom",  # begins with a stray blank
    "rtplan.dump": "not_dicom",
    "rtstruct.dump": "not_dicom",
    "test1.json": "not_dicom",
    "test_PN.json": "not_dicom",
    "zipMR.gz": "not_dicom",
    "JPEGLSNearLossless_08.dcm": "missing_uid",
    "JPEGLSNearLossless_16.dcm": "missing_uid",
    "SC_rgb_jls_lossy_line.dcm": "missing_uid",
    "SC_rgb_jls_lossy_sample.dcm": "missing_uid",
    "UN_sequence.dcm": "missing_uid",
    "empty_charset_LEI.dcm": "missing_uid",
    "meta_missing_tsyntax.dcm": "missing_uid",
    "nested_priv_SQ.dcm": "missing_uid",
    "no_meta_group_length.dcm": "missing_uid",
    "priv_SQ.dcm": "missing_uid",
    "bad_sequence.dcm": "invalid_uid",
    "MR_truncated.dcm": "truncated",
    "rtplan_truncated.dcm": "truncated",
    "emri_small_jpeg_2k_lossless_too_short.dcm": "truncated",
}
NOT_DECODED = {
    "JPEG2000-embedded-sequence-delimiter.dcm": "decode_error",
    "badVR.dcm": "decode_error",  # NumberOfFrames cannot be read
    "ExplVR_BigEndNoMeta.dcm": "no_pixels",
    "ExplVR_LitEndNoMeta.dcm": "no_pixels",
    "reportsi.dcm": "no_pixels",
    "reportsi_with_empty_number_tags.dcm": "no_pixels",
    "rtplan.dcm": "no_pixels",
    "rtstruct.dcm": "no_pixels",
    "test-SR.dcm": "no_pixels",
    "waveform_ecg.dcm": "no_pixels",
}
WITHOUT_PYDICOM = {
    **dict.fromkeys(
        (
            "JPEG-LL.dcm",
            "JPEG-lossy.dcm",
            "JPGExtended.dcm",
            "JPGLosslessP14SV1_1s_1f_8b.dcm",
            "SC_rgb_jpeg_gdcm.dcm",
        ),
        "no decoder without GPL code",
    ),
    "OT-PAL-8-face.dcm": "refuses a file without transfer syntax",
    "OBXXXX1A_expb.dcm": "takes a big-endian palette for a little-endian one; see the test below",
    "OBXXXX1A_expb_2frame.dcm": "the same",
}
# Where GDCM or SimpleITK goes another way.
WITHOUT_GDCM = {
    "SC_rgb_jpeg.dcm": "takes ten seconds over an Adobe marker that is too short",
    "SC_rgb_rle_16bit.dcm": "RLE colour over 8 bits comes out wrong",
    "SC_rgb_rle_16bit_2frame.dcm": "the same",
    "SC_rgb_rle_32bit.dcm": "the same",
    "SC_rgb_rle_32bit_2frame.dcm": "the same",
    "rtdose_expb.dcm": "32 bits of big endian are not swapped",
    "rtdose_expb_1frame.dcm": "fails",
    "rtdose_1frame.dcm": "fails: its frame increment pointer points nowhere",
    "rtdose_rle_1frame.dcm": "fails: the same",
    "eCT_Supplemental.dcm": "rescale is in the functional groups",
    "dicomdirtests/77654033/CR1/6154": "MONOCHROME1 with a slope is inverted differently",
    "dicomdirtests/77654033/CR2/6247": "the same",
    "dicomdirtests/77654033/CR3/6278": "the same",
}


def expected_reason(name: str) -> str | None:
    if name in NOT_READ or name in NOT_DECODED:
        return NOT_READ.get(name) or NOT_DECODED[name]
    if "DICOMDIR" in name or name.startswith("dicomdirtests/TINY_ALPHA"):
        return "no_pixels"
    return None


def test_both_collections_are_there():
    assert len(FILES) > 200
    assert "color3d_jpeg_baseline.dcm" in FILES


def parameters() -> list[object]:
    slow = {"color3d_jpeg_baseline.dcm"}
    return [pytest.param(name, marks=pytest.mark.slow) if name in slow else name for name in sorted(FILES)]


def decoded(data: bytes) -> tuple[pydicom.Dataset, np.ndarray]:
    dataset = read_dataset(data)
    row = scan(dataset, data)
    if row["pixel_length"] is not None:
        value = data[row["pixel_offset"] : row["pixel_offset"] + row["pixel_length"]]
        assert value == dataset["PixelData"].value
        assert row["pixel_length"] > 0
    return dataset, decode_pixels(dataset)


@pytest.mark.parametrize("name", parameters())
def test_outcome_of_every_file(name):
    data = FILES[name].read_bytes()
    reason = expected_reason(name)
    if reason is not None:
        with pytest.raises(ItemError) as caught:
            decoded(data)
        assert caught.value.reason == reason
        return
    dataset, values = decoded(data)
    same_as_pydicom(name, dataset, values)
    same_as_gdcm(name, dataset, values)


@pytest.mark.parametrize(
    "name",
    [name for name in sorted(NOT_READ) if name.endswith(("08.dcm", "16.dcm", "_line.dcm", "_sample.dcm"))],
)
def test_near_lossless_files_without_uids_decode_all_the_same(name):
    dataset = pydicom.dcmread(FILES[name])
    values = decode_pixels(dataset)
    same_as_pydicom(name, dataset, values)
    same_as_gdcm(name, dataset, values)


@pytest.mark.parametrize("name", [name for name in sorted(FILES) if "DICOMDIR" in name])
def test_indices_are_recognised(name):
    assert is_dicomdir(read_dataset(FILES[name].read_bytes()))


def test_a_palette_means_the_same_in_both_byte_orders():
    _, little = decoded(FILES["OBXXXX1A.dcm"].read_bytes())
    _, big = decoded(FILES["OBXXXX1A_expb.dcm"].read_bytes())
    np.testing.assert_array_equal(big, little)


def same_as_pydicom(name: str, dataset: pydicom.Dataset, values: np.ndarray) -> None:
    # JPEG-LS needs pyjpegls in pydicom; without it GDCM is the only witness.
    if name in WITHOUT_PYDICOM or not get_decoder(transfer_syntax(dataset)).is_available:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = pixel_array(dataset)
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            expected = apply_color_lut(expected, dataset)[..., :3]
    # Lossless and lossy alike: the same libraries lie below.
    np.testing.assert_array_equal(values, expected.reshape(values.shape))


def same_as_gdcm(name: str, dataset: pydicom.Dataset, values: np.ndarray) -> None:
    if name in WITHOUT_GDCM:
        return
    image = sitk.ReadImage(str(FILES[name]))
    expected = sitk.GetArrayFromImage(image).reshape(values.shape).astype(np.float64)
    photometric = dataset.PhotometricInterpretation
    mine = values.astype(np.float64)
    if photometric == "PALETTE COLOR" and values.max() > 255 >= expected.max():
        mine = mine // 256
    elif photometric == "MONOCHROME1":
        mine = 2 ** int(dataset.BitsStored) - 1 - mine
    elif dataset.BitsAllocated == 1:
        mine = mine * 255
    slope, intercept = (
        float(dataset.get("RescaleSlope", 1) or 1),
        float(dataset.get("RescaleIntercept", 0) or 0),
    )
    np.testing.assert_allclose(mine * slope + intercept, expected, rtol=1e-6, atol=1e-6)
