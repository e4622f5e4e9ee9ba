"""Masks of real objects against reference masks, SimpleITK's reader and highdicom."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid
from voxlake.dicom.geometry import judge
from voxlake.dicom.read import read_dataset
from voxlake.dicom.rtstruct import StructureSet, read_rtstruct
from voxlake.dicom.rtstruct_masks import rasterise
from voxlake.dicom.scan import scan
from voxlake.dicom.seg import Segmentation, read_seg
from voxlake.dicom.seg_masks import segment_fractions, segment_masks

pytestmark = pytest.mark.realdata

PAIRS = [
    (patient, kind)
    for patient in ("STS_002", "STS_008", "STS_019", "STS_025", "STS_042")
    for kind in ("CT", "PET", "MR_T1")
]
DCMQI = "dicom_seg_sr_pm/dcmqi/segmentations"
HIGHDICOM = "dicom_seg_sr_pm/highdicom"
SLIDES = (
    "control",
    "control_labelmap",
    "control_labelmap_palette_color",
    "dots",
    "dots_tiled_full",
    "numbers",
)


@cache
def image_grid(folder: Path) -> Grid:
    rows = [scan(read_dataset(path.read_bytes()), tags=False) for path in sorted(folder.glob("*.dcm"))]
    grid = judge(rows).grid
    assert grid is not None
    return grid


def structures(path: Path) -> StructureSet:
    return read_rtstruct(read_dataset(path.read_bytes()))


def segmentation(path: Path) -> Segmentation:
    return read_seg(read_dataset(path.read_bytes()))


def reference(path: Path) -> tuple[np.ndarray, Grid]:
    image = sitk.ReadImage(str(path))
    steps = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    values = sitk.GetArrayFromImage(image)
    grid = Grid.from_vectors(
        values.shape,
        origin=image.GetOrigin(),
        slice_step=steps[:, 2],
        row_step=steps[:, 1],
        column_step=steps[:, 0],
    )
    return values, grid


def test_structure_sets_equal_the_reference_masks_of_all_fifteen_images(realdata: Path) -> None:
    root = realdata / "sts_petctmr"
    differing = {}
    for patient, kind in PAIRS:
        folder = root / "dicom" / patient / kind
        grid = image_grid(folder / "image")
        found = structures(folder / "mask" / "RS.dcm")
        (roi,) = found.regions
        mask = rasterise(found, grid, roi)
        image = nibabel.load(root / "nifti" / patient / f"{kind}_mask.nii.gz")
        # NIfTI's world is RAS and its arrays are (column, row, slice).
        affine = (np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine)[:, [2, 1, 0, 3]]
        np.testing.assert_allclose(affine, grid.affine, atol=2e-3)
        expected = np.asarray(image.dataobj).transpose(2, 1, 0)
        assert expected.any()
        differing[patient, kind] = int((mask.numpy() != expected).sum())
    assert differing == dict.fromkeys(PAIRS, 0)


def test_the_volume_of_a_region_is_that_of_its_contours(realdata: Path) -> None:
    folder = realdata / "pet_raw_suv/STS_001/FDG_PET"
    grid = image_grid(folder / "image")
    (path,) = (folder / "mask").glob("*.dcm")
    found = structures(path)
    assert found.regions
    for region in found.regions.values():
        mask = rasterise(found, grid, region.number)
        assert mask.lineage.steps == ("rasterise contours: even-odd at voxel centres",)
        area = 0.0
        for contour in region.contours:
            x, y, _ = contour.points.T
            area += abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
        voxels = int(mask.numpy().sum())
        # Counting centres is right on average; the error goes with the border.
        assert voxels * grid.voxel_volume == pytest.approx(area * grid.spacing[0], rel=0.05)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("liver.dcm", "liver_seg.nrrd"),
        ("23x38x3/seg/label.seg", "23x38x3/nrrd/label.nrrd"),
        ("24x38x3/seg/label.seg", "24x38x3/nrrd/label.nrrd"),
        ("sparse-labelmap-noppv.dcm", "sparse_labelmap_noppv_seg.nrrd"),
        ("sparse-labelmap-ppv5.dcm", "sparse_labelmap_ppv5_seg.nrrd"),
    ],
)
def test_segmentations_equal_the_label_volumes_of_dcmqi(realdata: Path, name: str, expected: str) -> None:
    found = segmentation(realdata / DCMQI / name)
    values, grid = reference(realdata / DCMQI / expected)
    if found.padding is not None:
        # The reference fills the slice without a frame with the padding value.
        values = np.where(values == found.padding, 0, values)
    assert values.any()
    for target in (grid, None):
        (mask,) = segment_masks(found, target)
        np.testing.assert_array_equal(mask.numpy(), values)
        assert mask.grid.matches(grid, tolerance=1e-2)


def test_overlapping_segments_equal_the_label_volumes_of_dcmqi(realdata: Path) -> None:
    grid = image_grid(realdata / DCMQI / "ct-3slice")
    masks = segment_masks(segmentation(realdata / DCMQI / "partial_overlaps.dcm"), grid)
    parts = [reference(realdata / DCMQI / f"partial_overlaps-{number}.nrrd")[0] for number in (1, 2, 3)]
    assert [mask.labels[0].value for mask in masks] == [1, 2, 3, 4, 5]
    for mask in masks:
        (label,) = mask.labels
        expected = sum((part == label.value).astype(int) for part in parts)
        assert expected.any()
        np.testing.assert_array_equal(mask.numpy(), expected * label.value)


@pytest.mark.parametrize(
    "name",
    [
        f"{HIGHDICOM}/seg_image_ct_binary.dcm",
        f"{HIGHDICOM}/seg_image_ct_binary_overlap.dcm",
        f"{HIGHDICOM}/seg_image_ct_binary_fractional.dcm",
        f"{HIGHDICOM}/seg_image_ct_true_fractional.dcm",
        f"{DCMQI}/liver.dcm",
        f"{DCMQI}/partial_overlaps.dcm",
        "dicom_seg_sr_pm/dcmqi/sr-example/seg.dcm",
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_segments_equal_what_highdicom_reads(realdata: Path, name: str) -> None:
    path = realdata / name
    found = segmentation(path)
    volume = highdicom.seg.segread(path).get_volume(combine_segments=False, allow_missing_positions=True)
    steps = volume.affine
    theirs = Grid.from_affine(volume.shape[:3], steps)
    for number, (segment, shares) in enumerate(segment_fractions(found, theirs)):
        assert segment.number == number + 1
        assert shares.lineage.steps[1:] == ()
        assert shares.numpy().any()
        np.testing.assert_allclose(shares.numpy(), volume.array[..., number], atol=1e-6)
    grid = found.grid
    assert grid is not None
    # highdicom's slices run against the normal of the image, ours along it.
    assert theirs.flip(0).matches(grid, tolerance=1e-2)


def test_a_radiograph_is_flat_and_slides_are_refused(realdata: Path) -> None:
    found = segmentation(realdata / HIGHDICOM / "seg_image_cr_binary.dcm")
    (mask,) = segment_masks(found)
    assert mask.grid == Grid.flat_image((16, 16))
    np.testing.assert_array_equal(mask.numpy()[0], found.values[0])
    for name in SLIDES:
        with pytest.raises(ItemError, match="slide microscopy") as refused:
            segmentation(realdata / HIGHDICOM / f"seg_image_sm_{name}.dcm")
        assert refused.value.reason == "unsupported_mask"
