"""Real series: the verdict on each, and volumes against SimpleITK and dcm2niix."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from voxlake.core.errors import ItemError
from voxlake.core.volume import Volume
from voxlake.dicom.geometry import judge
from voxlake.dicom.read import looks_like_dicom, read_dataset
from voxlake.dicom.scan import scan
from voxlake.dicom.volume import assemble

pytestmark = pytest.mark.realdata

VENDORS = "multivendor_dicom"

# What each folder holds taken as one volume; most of the vendors' folders are time series, which
# test_dicom_vendors.py takes apart.
VERDICTS = {
    f"{VENDORS}/dcm_qa/In/Orientation/ax/axasc36": "duplicates",
    f"{VENDORS}/dcm_qa/In/Orientation/axmb/AxAsc36mb2a": "duplicates",
    f"{VENDORS}/dcm_qa/In/Orientation/axmb/AxInt36mb": "duplicates",
    f"{VENDORS}/dcm_qa/In/Orientation/sag/sagasc36": "duplicates",
    f"{VENDORS}/dcm_qa_12bit/In": "duplicates",
    f"{VENDORS}/dcm_qa_nih/In/20180918Si/mr_0003": "duplicates",
    f"{VENDORS}/dcm_qa_uih/In/DTI_134434": "duplicates",
    f"{VENDORS}/dcm_qa_agfa/Siemens": "duplicates",
    f"{VENDORS}/dcm_qa_enh/In/Philips": "duplicates",
    f"{VENDORS}/dcm_qa_enh/In/Siemens/XA10": "duplicates",
    f"{VENDORS}/dcm_qa_philips/In/Magdeburg_2014/fmri": "duplicates",
    f"{VENDORS}/dcm_qa_xa30/In/8_gre_field_mapping": "duplicates",
    f"{VENDORS}/dcm_qa_ct/In/GE": "tilt",
    f"{VENDORS}/dcm_qa_xa30/In/5_anat-T1w_acq-tfl": "regular",
    "sts_petctmr/dicom/STS_002/CT/mask": "none",
    "cxr_dicom_nih": "flat",
    "dicom_seg_sr_pm/dcmqi/segmentations/23x38x3/multiframe": "regular",
}
SERIES = [
    *(
        f"sts_petctmr/dicom/STS_0{patient}/{kind}/image"
        for patient in ("02", "25")
        for kind in ("CT", "PET", "MR_T1")
    ),
    "test_only/ibsi_ct_phantom/dicom/image",
    "dicom_seg_sr_pm/dcmqi/segmentations/ct-3slice",
    "dicom_seg_sr_pm/dcmqi/segmentations/23x38x3/image",
]


@cache
def load(folder: Path) -> tuple[tuple[dict, ...], tuple[bytes, ...]]:
    rows, blobs = [], []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        blob = path.read_bytes()
        if not looks_like_dicom(blob):
            continue
        row = scan(read_dataset(blob), blob)
        rows.append(row | {"sha256": hashlib.sha256(blob).hexdigest()})
        blobs.append(blob)
    return tuple(rows), tuple(blobs)


@pytest.mark.parametrize("folder", list(VERDICTS))
def test_verdict(realdata, folder):
    rows, blobs = load(realdata / folder)
    assert rows
    verdict = judge(rows)
    assert verdict.kind == VERDICTS[folder]
    if verdict.grid is None:
        with pytest.raises(ItemError) as caught:
            assemble(rows, blobs)
        assert caught.value.reason.startswith("geometry_")


def test_the_tilt_is_the_one_that_the_device_states(realdata):
    rows, _ = load(realdata / VENDORS / "dcm_qa_ct/In/GE")
    assert {row["gantry_detector_tilt"] for row in rows} == {18.5}
    assert "18.50 degrees" in judge(rows).note


def test_mosaics_know_their_tiles(realdata):
    rows, _ = load(realdata / VENDORS / "dcm_qa/In/Orientation/ax/axasc36")
    assert {row["mosaic_tiles"] for row in rows} == {36}


def by_simpleitk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    direction, spacing = np.array(image.GetDirection()).reshape(3, 3), np.array(image.GetSpacing())
    affine = np.eye(4)
    # ITK's axes are column, row, slice.
    affine[:3, :3] = (direction * spacing)[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), affine


def compare(folder: Path) -> Volume:
    volume = assemble(*load(folder))
    values, affine = by_simpleitk(folder)
    np.testing.assert_allclose(volume.grid.affine, affine, atol=1e-6)
    # SimpleITK gives float64 where voxlake rounds once, into float32.
    np.testing.assert_allclose(volume.numpy(), values, rtol=6e-8, atol=0)
    return volume


@pytest.mark.parametrize("folder", SERIES)
def test_volume_equals_simpleitk(realdata, folder):
    volume = compare(realdata / folder)
    # These PET images were written as SUV by body weight.
    assert volume.unit == {"CT": "HU", "PT": "SUVbw"}.get(volume.modality, "arbitrary")
    assert (volume.dtype == np.float32) == (volume.modality == "PT")


@pytest.mark.slow
def test_long_pet_series_equals_simpleitk(realdata):
    volume = compare(realdata / "pet_raw_suv/STS_001/FDG_PET/image")
    assert volume.shape == (267, 128, 128)
    rows, _ = load(realdata / "pet_raw_suv/STS_001/FDG_PET/image")
    assert len({row["rescale_slope"] for row in rows}) > 100
    assert {row["injection_to_scan"] for row in rows} == {2711.0}


def test_multi_frame_and_classic_objects_of_one_series_agree(realdata):
    folder = realdata / "dicom_seg_sr_pm/dcmqi/segmentations/23x38x3"
    classic, enhanced = assemble(*load(folder / "image")), assemble(*load(folder / "multiframe"))
    np.testing.assert_array_equal(classic.numpy(), enhanced.numpy())
    assert classic.grid.matches(enhanced.grid)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """``converted(folder)``: the NIfTI files that dcm2niix makes of a folder."""

    @cache
    def convert(folder: Path) -> dict[str, nibabel.Nifti1Image]:
        out = tmp_path_factory.mktemp("nifti")
        command = [sys.executable, "-m", "dcm2niix", "-z", "n", "-f", "%s_%e", "-o", str(out), str(folder)]
        subprocess.run(command, check=True, capture_output=True)
        return {path.stem: nibabel.load(path) for path in sorted(out.glob("*.nii"))} | {
            path.name: path for path in out.glob("*.bv*")
        }

    return convert


def same_as_nifti(volume: Volume, image: nibabel.Nifti1Image, time: int | None = None) -> None:
    """The same voxels at the same places: NIfTI is RAS and has the axes column, row, slice."""
    values = np.asanyarray(image.dataobj)
    values = values if time is None else values[..., time]
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    steps = np.linalg.inv(lps) @ volume.grid.affine
    whole = np.rint(steps)
    np.testing.assert_allclose(steps, whole, atol=1e-3)
    places = np.indices(volume.shape).reshape(3, -1)
    column, row, level = (whole[:3, :3] @ places + whole[:3, 3:]).astype(int)
    np.testing.assert_array_equal(values[column, row, level].reshape(volume.shape), volume.numpy())


def test_enhanced_mr_equals_dcm2niix(realdata, converted):
    folder = realdata / VENDORS / "dcm_qa_xa30/In/5_anat-T1w_acq-tfl"
    (image,) = converted(folder).values()
    same_as_nifti(assemble(*load(folder)), image)


def test_each_echo_of_a_field_map_equals_dcm2niix(realdata, converted):
    folder = realdata / VENDORS / "dcm_qa_xa30/In/8_gre_field_mapping"
    rows, blobs = load(folder)
    assert sorted(row["echo_time"] for row in rows) == [10.0, 12.46]
    for number, index in enumerate(sorted(range(2), key=lambda index: rows[index]["echo_time"]), start=1):
        same_as_nifti(assemble([rows[index]], [blobs[index]]), converted(folder)[f"8_{number}"])


def test_each_time_point_of_an_enhanced_series_equals_dcm2niix(realdata, converted):
    folder = realdata / VENDORS / "dcm_qa_enh/In/Siemens/XA10"
    (image,) = converted(folder).values()
    for row, blob in zip(*load(folder), strict=True):
        same_as_nifti(assemble([row], [blob]), image, row["temporal_position_identifier"] - 1)


def test_diffusion_equals_dcm2niix(realdata, converted):
    folder = realdata / VENDORS / "dcm_qa_uih/In/DTI_134434"
    files = converted(folder)
    values, vectors = (
        np.loadtxt(next(path for name, path in files.items() if name.endswith(kind)))
        for kind in ("bval", "bvec")
    )
    rows = sorted(load(folder)[0], key=lambda row: row["instance_number"])
    np.testing.assert_allclose([row["diffusion_b_value"] for row in rows], values, rtol=1e-5)
    assert rows[0]["diffusion_gradient"] is None
    for row, vector in list(zip(rows, vectors.T, strict=True))[1:]:
        right, down = np.reshape(row["image_orientation_patient"], (2, 3))
        axes = np.array([right, down, np.cross(right, down)])
        # FSL's table runs along the axes of the image, whose rows dcm2niix writes upside down.
        np.testing.assert_allclose(axes @ row["diffusion_gradient"], vector * [1, -1, 1], atol=1e-4)


def test_no_b_value_where_there_is_no_diffusion(realdata):
    for folder in (
        "dcm_qa_nih/In/20180918Si/mr_0003",
        "dcm_qa_xa30/In/5_anat-T1w_acq-tfl",
        "dcm_qa_agfa/Siemens",
    ):
        assert {row["diffusion_b_value"] for row in load(realdata / VENDORS / folder)[0]} == {None}


def test_offsets_point_at_the_pixels(realdata):
    rows, blobs = load(realdata / "sts_petctmr/dicom/STS_002/CT/image")
    for row, blob in zip(rows, blobs, strict=True):
        pixels = blob[row["pixel_offset"] : row["pixel_offset"] + row["pixel_length"]]
        assert len(pixels) == row["rows"] * row["columns"] * 2
        assert pixels == read_dataset(blob).PixelData
