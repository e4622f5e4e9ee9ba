"""Archives against zipfile, pictures against SimpleITK and imagecodecs, NIfTI against nibabel, SimpleITK."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import imagecodecs
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image

from voxlake.sources.images import read_image, scan_image, sniff
from voxlake.sources.open import open_source
from voxlake.sources.phantoms import Phantoms

LIMIT = 1 << 28
GENERATOR = np.random.default_rng(0)


def itk(path: Path) -> tuple[np.ndarray, sitk.Image]:
    image = sitk.ReadImage(str(path))
    return sitk.GetArrayFromImage(image), image


def check_places(grid, image: sitk.Image, tolerance: float = 1e-4) -> None:
    columns, rows, slices = image.GetSize()
    for index in [(0, 0, 0), (slices - 1, rows - 1, columns - 1), (slices // 2, rows // 3, columns // 4)]:
        place = image.TransformIndexToPhysicalPoint([int(n) for n in index[::-1]])
        np.testing.assert_allclose(grid.index_to_world(index), place, atol=tolerance)


@pytest.mark.parametrize("values", [
    GENERATOR.integers(0, 256, (17, 23), dtype=np.uint8),
    GENERATOR.integers(0, 65536, (17, 23), dtype=np.uint16),
    GENERATOR.integers(0, 256, (17, 23, 3), dtype=np.uint8),
    GENERATOR.integers(0, 65536, (17, 23, 3), dtype=np.uint16),
])  # fmt: skip
def test_png_values_are_those_of_simpleitk(tmp_path, values):
    path = tmp_path / "a.png"
    sitk.WriteImage(sitk.GetImageFromArray(values, isVector=values.ndim == 3), str(path))
    np.testing.assert_array_equal(read_image(path.read_bytes(), "png").numpy()[0], values)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_values_are_those_of_another_decoder(mode):
    smooth = np.add.outer(np.arange(64), np.arange(48)).astype(np.uint8)
    image = Image.merge("RGB", [Image.fromarray(each) for each in (smooth, 255 - smooth, smooth // 2)])
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, "JPEG", quality=90, subsampling=0)
    found = read_image(buffer.getvalue(), "jpeg").numpy()[0].astype(int)
    assert np.abs(found - imagecodecs.jpeg8_decode(buffer.getvalue())).max() <= 1


def test_members_are_those_of_zipfile(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        for n in range(50):
            method = zipfile.ZIP_DEFLATED if n % 3 else zipfile.ZIP_STORED
            data = GENERATOR.integers(0, 1 + n, 100 * n + 1, dtype=np.uint8).tobytes()
            file.writestr(f"f{n % 7}/é{n}.dcm", data, method)
        file.comment = b"comment"
    with zipfile.ZipFile(path) as file:
        expected = {f"a.zip/{name}": file.read(name) for name in file.namelist()}
    assert {item.name: item.read(LIMIT) for item in open_source(path)} == expected


@pytest.mark.realdata
def test_hippocampus_values_and_places(realdata):
    images = sorted((realdata / "hippocampus_mri" / "images").glob("*.nii.gz"))[::8]
    labels = [realdata / "hippocampus_mri" / "labels" / path.name for path in images]
    assert len(images) == 25
    for path in (*images, *labels):
        data = path.read_bytes()
        assert sniff(data, path.name) == "nifti"
        found = read_image(data, "nifti")
        original = nibabel.load(path)
        np.testing.assert_array_equal(found.numpy(), np.asanyarray(original.dataobj).transpose(2, 1, 0))
        values, image = itk(path)
        np.testing.assert_array_equal(found.numpy(), values)
        check_places(found.grid, image)
        assert scan_image(data, "nifti")["number_of_frames"] == found.shape[0]


@pytest.mark.realdata
def test_all_other_nifti_files(realdata):
    paths = [
        path
        for path in sorted(realdata.glob("*/**/*.nii*"))
        if path.suffix in {".nii", ".gz"}
        and "hippocampus" not in path.parts[-3]
        and path.stat().st_size < 1e6
    ]
    compared = 0
    for path in paths:
        data = path.read_bytes()
        assert sniff(data) == "nifti"
        if len(nibabel.load(path).shape) != 3:
            assert scan_image(data, "nifti")["number_of_frames"] > 1
            continue
        found = read_image(data, "nifti")
        values, image = itk(path)
        np.testing.assert_allclose(found.numpy(), values, rtol=1e-6, atol=1e-6)
        check_places(found.grid, image, 1e-3)
        compared += 1
    assert compared > 40


@pytest.mark.realdata
def test_real_pictures(realdata):
    paths = [
        *sorted(realdata.glob("chest_xray_pneumonia/train/*/*.jpeg"))[::100],
        *sorted(realdata.glob("breast_ultrasound_busi/**/*.png"))[::40],
        *sorted(realdata.glob("retina_chasedb1/**/*.[jp][pn]g"))[::4],
    ]
    assert len(paths) > 40
    for path in paths:
        data = path.read_bytes()
        kind = sniff(data, path.name)
        assert kind in {"png", "jpeg"}
        found = read_image(data, kind)
        columns = scan_image(data, kind)
        assert found.shape[1:3] == (columns["rows"], columns["columns"])
        values, _ = itk(path)
        mine = found.numpy()[0]
        if values.ndim == 3:
            values = values[..., 0] if mine.ndim == 2 else values[..., :3]
        assert values.shape == mine.shape
        # Decoders differ in how they spread colour that was stored at half the resolution.
        difference = np.abs(mine.astype(int) - values.astype(int))
        assert (difference.max() <= 1) if mine.ndim == 2 else (difference.mean() < 0.3)


@pytest.mark.realdata
def test_chest_xrays_are_grey_stored_as_colour(realdata):
    for path in sorted(realdata.glob("chest_xray_pneumonia/train/*/*.jpeg"))[::125]:
        image = read_image(path.read_bytes(), "jpeg")
        assert image.shape == (1, 224, 224)
        assert "reduced" in image.lineage.steps[0]


@pytest.mark.realdata
def test_real_dicom_is_recognised(realdata):
    paths = sorted(realdata.glob("**/*.dcm"))[::40]
    assert len(paths) > 25
    assert {sniff(path.read_bytes(), path.name) for path in paths} == {"dicom"}


def test_phantoms_are_volumes_for_simpleitk(tmp_path):
    items = list(Phantoms(patients=12, seed=3, second_study=0, slices=8, rows=16, columns=16))
    seen = set()
    for first in range(0, len(items), 8):
        head = pydicom.dcmread(io.BytesIO(items[first].read(LIMIT)))
        if head.Manufacturer in seen:
            continue
        seen.add(head.Manufacturer)
        folder = tmp_path / str(first)
        folder.mkdir()
        for item in items[first : first + 8]:
            (folder / f"{item.number}.dcm").write_bytes(item.read(LIMIT))
        reader = sitk.ImageSeriesReader()
        names = reader.GetGDCMSeriesFileNames(str(folder))
        assert len(names) == 8
        reader.SetFileNames(names)
        image = reader.Execute()
        values = sitk.GetArrayFromImage(image)
        slices = sorted(
            (pydicom.dcmread(name) for name in names), key=lambda each: float(each.ImagePositionPatient[2])
        )
        mine = [each.pixel_array * float(each.RescaleSlope) + float(each.RescaleIntercept) for each in slices]
        np.testing.assert_allclose(values, mine)
        assert image.GetSpacing()[2] == pytest.approx(float(head.SpacingBetweenSlices), abs=1e-4)
        assert image.GetOrigin() == pytest.approx([float(v) for v in slices[0].ImagePositionPatient])
        assert -1200 < values.min() < -900
        assert 100 < values.max() < 1000
    assert len(seen) == 4
