"""What independent readers see of a cleaned file: no text anywhere, and the same values."""

from __future__ import annotations

import gzip
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from voxlake.privacy.images import strip_metadata

TOKEN = "ZQXTOKEN"
VALUES = np.random.default_rng(5).integers(0, 60000, (6, 15, 20)).astype(np.uint16)


def forms(token: str) -> list[bytes]:
    return [token.encode(code) for code in ("ascii", "utf-16-le", "utf-16-be")]


def assert_gone(data: bytes) -> None:
    for text in forms(TOKEN):
        assert text not in data
        if data.startswith(b"\x1f\x8b"):
            assert text not in gzip.decompress(data)


def written(tmp_path: Path, name: str) -> bytes:
    image = SimpleITK.GetImageFromArray(VALUES if name.startswith("v") else VALUES[0].astype(np.uint8))
    image.SetSpacing((0.5, 0.75, 1.25)[: image.GetDimension()])
    image.SetOrigin((-3.5, 4, 5)[: image.GetDimension()])
    for key in ("PatientName", "descrip", "aux_file", "intent_name", "ITK_FileNotes", "db_name"):
        image.SetMetaData(key, TOKEN)
    SimpleITK.WriteImage(image, tmp_path / name)
    return (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("v.nrrd", "nrrd"), ("v.nii", "nifti"), ("v.nii.gz", "nifti"), ("v.tif", "tiff"), ("f.png", "png"),
        ("f.jpg", "jpeg"), ("f.tif", "tiff"), ("f.nrrd", "nrrd"),
    ],
)  # fmt: skip
def test_the_toolkit_reads_the_same_image(tmp_path, name, kind):
    stripped = strip_metadata(written(tmp_path, name), kind)
    assert_gone(stripped)
    clean = tmp_path / f"clean-{name}"
    clean.write_bytes(stripped)
    before, after = SimpleITK.ReadImage(tmp_path / name), SimpleITK.ReadImage(clean)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(after), SimpleITK.GetArrayFromImage(before))
    assert after.GetPixelIDTypeAsString() == before.GetPixelIDTypeAsString()
    for number in (after.GetSpacing, after.GetOrigin, after.GetDirection):
        assert number() == pytest.approx(getattr(before, number.__name__)(), rel=1e-12)
    notes = " ".join(after.GetMetaData(key) for key in after.GetMetaDataKeys())
    assert TOKEN not in notes


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64, np.complex64])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_nibabel_reads_the_same_image(dtype, kind):
    affine = np.array([[0, -2.0, 0, 9], [1.5, 0, 0, -8], [0, 0, 3, 7], [0, 0, 0, 1]])
    image = kind(VALUES.astype(dtype), affine)
    image.header["descrip"] = TOKEN
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", TOKEN.encode("utf-16-le")))
    data = image.to_bytes()
    stripped = strip_metadata(data, "nifti")
    assert_gone(stripped)
    after = kind.from_bytes(stripped)
    np.testing.assert_array_equal(np.asanyarray(after.dataobj), VALUES.astype(dtype))
    np.testing.assert_array_equal(after.affine, affine)
    for code in ("qform_code", "sform_code"):
        assert after.header[code] == image.header[code]


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "1", "P", "LA", "RGBA", "I;16"])
@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff"])
def test_pillow_reads_the_same_image(kind, mode):
    if (kind, mode) in {("png", "CMYK"), *(("jpeg", other) for other in ("1", "P", "LA", "RGBA", "I;16"))}:
        pytest.skip("the format has no such pixels")
    exif = Image.Exif()
    exif[0x010E] = exif[0x013B] = TOKEN
    exif[0x9C9B] = TOKEN.encode("utf-16-le")
    image = Image.fromarray(VALUES[0]) if mode == "I;16" else Image.fromarray(VALUES[0] >> 8).convert(mode)
    stream = BytesIO()
    image.save(stream, kind.upper(), exif=exif, icc_profile=TOKEN.encode() * 20, dpi=(120, 120))
    stripped = strip_metadata(stream.getvalue(), kind)
    assert any(text in stream.getvalue() for text in forms(TOKEN))
    assert_gone(stripped)
    with Image.open(stream) as before, Image.open(BytesIO(stripped)) as after:
        assert after.mode == before.mode
        assert after.info["dpi"] == pytest.approx((120, 120), abs=0.02)
        assert "icc_profile" not in after.info
        np.testing.assert_array_equal(np.asarray(after), np.asarray(before))
