"""NRRD against SimpleITK, TIFF against tifffile: values, types and places."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest

from voxlake.core.volume import Volume
from voxlake.privacy.images import strip_metadata
from voxlake.sources.images import read_image, scan_image, sniff

sitk = pytest.importorskip("SimpleITK")
tifffile = pytest.importorskip("tifffile")

REAL = (
    "dicom_seg_sr_pm/dcmqi/paramaps/pm-example.nrrd",
    "dicom_seg_sr_pm/dcmqi/paramaps/pm-example-3slices-252x255.nrrd",
    "dicom_seg_sr_pm/dcmqi/segmentations/liver_spine_seg.nrrd",
    "dicom_seg_sr_pm/dcmqi/segmentations/24x38x3/nrrd/label.nrrd",
    "pyradiomics_cases/brain1_image.nrrd",
    "pyradiomics_cases/breast1_label.nrrd",
)


def assert_as_itk(data: bytes, path: Path) -> Volume:
    image = sitk.ReadImage(str(path))
    assert sniff(data) == "nrrd"
    volume = read_image(data, "nrrd")
    values = sitk.GetArrayFromImage(image)
    np.testing.assert_array_equal(volume.numpy(), values, strict=True)
    affine = np.eye(4)
    directions = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, :3], affine[:3, 3] = directions[:, ::-1], image.GetOrigin()
    np.testing.assert_allclose(volume.grid.affine, affine, atol=1e-9)
    scanned = scan_image(data, "nrrd")
    assert (scanned["number_of_frames"], scanned["rows"], scanned["columns"]) == values.shape[:3]
    assert scanned["bits_stored"] == values.dtype.itemsize * 8
    np.testing.assert_allclose(scanned["image_position_patient"], image.GetOrigin(), atol=1e-9)
    clean = read_image(strip_metadata(data, "nrrd"), "nrrd")
    np.testing.assert_array_equal(clean.numpy(), values)
    assert clean.grid == volume.grid
    return volume


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL)
def test_real_nrrd_files_as_itk_reads_them(realdata: Path, name: str) -> None:
    path = realdata / name
    assert_as_itk(path.read_bytes(), path)


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])
@pytest.mark.parametrize("packed", [False, True])
def test_what_itk_writes(tmp_path: Path, kind: str, packed: bool) -> None:
    random = np.random.default_rng(1)
    image = sitk.GetImageFromArray((random.random((3, 5, 7)) * 100).astype(kind))
    image.SetSpacing((0.5, 0.7, 2.5))
    image.SetOrigin((-10.0, 20.5, 3.0))
    turn = np.linalg.qr(random.standard_normal((3, 3)))[0]
    image.SetDirection((turn * np.sign(np.linalg.det(turn))).ravel().tolist())
    path = tmp_path / "a.nrrd"
    sitk.WriteImage(image, str(path), useCompression=packed)
    assert_as_itk(path.read_bytes(), path)


@pytest.mark.parametrize(
    "space", ["right-anterior-superior", "LAS", "left-posterior-superior", "scanner-xyz"]
)
@pytest.mark.parametrize("endian", ["little", "big"])
def test_spaces_and_byte_orders(tmp_path: Path, space: str, endian: str) -> None:
    values = np.arange(2 * 3 * 4, dtype="<i2" if endian == "little" else ">i2")
    header = (
        f"NRRD0004\ntype: short\ndimension: 3\nspace: {space}\nsizes: 4 3 2\nendian: {endian}\n"
        "encoding: raw\n"
        "space directions: (2,0,0) (0,0,-3) (0.5,4,0)\nspace origin: (1,2,3)\n\n"
    )
    path = tmp_path / "a.nrrd"
    path.write_bytes(header.encode() + values.tobytes())
    volume = read_image(path.read_bytes(), "nrrd")
    np.testing.assert_array_equal(volume.numpy(), values.reshape(2, 3, 4))
    signs = {"r": (-1, -1, 1), "L": (1, -1, 1), "l": (1, 1, 1), "s": (1, 1, 1)}[space[0]]
    np.testing.assert_allclose(volume.grid.affine[:3], np.array(
        [[0.5, 0, 2, 1], [4, 0, 0, 2], [0, -3, 0, 3]]) * np.array(signs)[:, None])  # fmt: skip
    if space[0] in "rl":
        image = sitk.ReadImage(str(path))
        np.testing.assert_allclose(volume.grid.origin, image.GetOrigin())


TIFFS = list(
    itertools.product(
        ["u1", "u2", "u4", "i2", "f4", "f8"],
        [(33, 50), (33, 50, 3), (3, 33, 50)],
        [(None, False), ("zlib", False), ("zlib", True), ("lzw", True), ("packbits", False)],
        [None, (16, 32)],
        "<>",
    )
)


def test_tiff_as_tifffile_writes_it() -> None:
    random = np.random.default_rng(0)
    for number, (kind, shape, (packing, predictor), tile, order) in enumerate(TIFFS):
        values = (random.random(shape) * 200).astype(kind)
        buffer = io.BytesIO()
        tifffile.imwrite(
            buffer, values, compression=packing, predictor=predictor, tile=tile, byteorder=order,
            bigtiff=number % 2 == 1, photometric="rgb" if shape[-1] == 3 else "minisblack",
            rowsperstrip=None if tile else 7, metadata=None,
        )  # fmt: skip
        data = buffer.getvalue()
        assert sniff(data) == "tiff"
        expected = values if shape[0] == 3 else values[np.newaxis]
        np.testing.assert_array_equal(read_image(data, "tiff").numpy(), expected, strict=True)
        np.testing.assert_array_equal(read_image(strip_metadata(data, "tiff"), "tiff").numpy(), expected)
        scanned = scan_image(data, "tiff")
        found = (scanned["number_of_frames"], scanned["rows"], scanned["columns"])
        assert found == expected.shape[:3]
        assert scanned["bits_stored"] == values.dtype.itemsize * 8


@pytest.mark.realdata
def test_first_level_of_a_slide(realdata: Path) -> None:
    data = (realdata / "wsi" / "cmu-1-small-region.svs").read_bytes()
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        expected = file.pages[0].asarray()
        assert len(file.pages) > 1
    volume = read_image(data, "tiff")
    assert volume.shape == (1, *expected.shape)
    assert np.abs(volume.numpy()[0].astype(int) - expected).max() <= 1
    np.testing.assert_array_equal(read_image(strip_metadata(data, "tiff"), "tiff").numpy(), volume.numpy())
