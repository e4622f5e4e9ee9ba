"""Every series of the vendors' collection against dcm2niix and SimpleITK: affine, order and values.

Where the tools disagree is listed here, as in docs/concepts/geometry.md, and the lists are exact: a tool that
changes, or a change here, makes a test fail.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from voxlake.core.errors import ItemError
from voxlake.core.mends import Mends
from voxlake.core.volume import Volume
from voxlake.dicom.read import looks_like_dicom, read_dataset
from voxlake.dicom.scan import scan
from voxlake.dicom.stacks import Stack, series_verdict, split
from voxlake.dicom.volume import assemble
from voxlake.lake.cohorts import select
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake
from voxlake.volumes.prepare import prepare
from voxlake.volumes.read import iter_volumes

pytestmark = pytest.mark.realdata

TILTED = "dcm_qa_ct/In/GE"
# Folder -> number of volumes, their shape, and what they were split by.
SERIES = {
    "dcm_qa/In/Orientation/ax/axasc36": (2, (36, 64, 64), "acquisition_number"),
    "dcm_qa/In/Orientation/ax/axint36": (2, (36, 64, 64), "acquisition_number"),
    "dcm_qa/In/Orientation/axmb/AxAsc36mb2a": (2, (36, 86, 86), "acquisition_number"),
    "dcm_qa/In/Orientation/axmb/AxInt36mb": (2, (36, 86, 86), "acquisition_number"),
    "dcm_qa/In/Orientation/sag/sagasc36": (2, (36, 64, 64), "acquisition_number"),
    "dcm_qa_12bit/In": (3, (35, 64, 64), "series_number"),
    "dcm_qa_agfa/Agfa": (4, (25, 64, 64), "temporal_position"),
    "dcm_qa_agfa/Siemens": (4, (25, 64, 64), "temporal_position"),
    "dcm_qa_enh/In/Philips": (2, (32, 64, 64), "frame_type"),
    "dcm_qa_enh/In/Siemens/XA10": (4, (6, 64, 64), "temporal_position"),
    "dcm_qa_nih/In/20180918GE/mr_0004": (10, (15, 64, 64), "repeat"),
    "dcm_qa_nih/In/20180918Si/mr_0003": (2, (5, 72, 72), "acquisition_number"),
    "dcm_qa_nih/In/20180918Si/mr_0004": (2, (5, 72, 72), "acquisition_number"),
    "dcm_qa_nih/In/20180918Si/mr_0005": (2, (5, 72, 72), "acquisition_number"),
    "dcm_qa_nih/In/20180918Si/mr_0006": (2, (5, 72, 72), "acquisition_number"),
    "dcm_qa_philips/In/Magdeburg_2014/fmri": (3, (9, 64, 64), "temporal_position"),
    "dcm_qa_uih/In/DTI_134434": (17, (20, 64, 64), "diffusion_gradient"),
    "dcm_qa_xa30/In/5_anat-T1w_acq-tfl": (1, (96, 128, 128), ""),
    "dcm_qa_xa30/In/8_gre_field_mapping": (2, (33, 64, 64), "echo_time"),
}

# dcm2niix scales Philips images to the "precise" values of a private element (its option -p y, the default):
# file of the volume -> times the value after the standard's rescale.
PRECISE = {
    ("dcm_qa_enh/In/Philips", 2): 1.0,
    ("dcm_qa_enh/In/Philips", 1): 92481.0879,
    ("dcm_qa_philips/In/Magdeburg_2014/fmri", 1): 180.899581,
    ("dcm_qa_philips/In/Magdeburg_2014/fmri", 2): 180.899581,
    ("dcm_qa_philips/In/Magdeburg_2014/fmri", 3): 180.899581,
}

# SimpleITK's reader of series, given the folder: size of the image that it makes (column, row, slice[, time])
# where that is not what the series is.
SHEETS = {
    "dcm_qa/In/Orientation/ax/axasc36": (384, 384, 2),
    "dcm_qa/In/Orientation/ax/axint36": (384, 384, 2),
    "dcm_qa/In/Orientation/axmb/AxAsc36mb2a": (516, 516, 2),
    "dcm_qa/In/Orientation/axmb/AxInt36mb": (516, 516, 2),
    "dcm_qa/In/Orientation/sag/sagasc36": (384, 384, 2),
    "dcm_qa_12bit/In": (384, 384, 3),
    "dcm_qa_nih/In/20180918Si/mr_0003": (216, 216, 2),
    "dcm_qa_nih/In/20180918Si/mr_0004": (216, 216, 2),
    "dcm_qa_nih/In/20180918Si/mr_0005": (216, 216, 2),
    "dcm_qa_nih/In/20180918Si/mr_0006": (216, 216, 2),
    "dcm_qa_uih/In/DTI_134434": (320, 256, 17),
}
PILES = {
    "dcm_qa_enh/In/Philips": (64, 64, 64, 1),
    "dcm_qa_nih/In/20180918GE/mr_0004": (64, 64, 150),
    "dcm_qa_philips/In/Magdeburg_2014/fmri": (64, 64, 27),
}
AGREED = sorted(set(SERIES) - set(SHEETS) - set(PILES))


@cache
def load(folder: Path) -> tuple[tuple[dict, ...], tuple[bytes, ...], tuple[Path, ...]]:
    rows, blobs, paths = [], [], []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        blob = path.read_bytes()
        if looks_like_dicom(blob):
            rows.append(scan(read_dataset(blob), blob) | {"sha256": hashlib.sha256(blob).hexdigest()})
            blobs.append(blob)
            paths.append(path)
    return tuple(rows), tuple(blobs), tuple(paths)


@cache
def volumes(folder: Path) -> tuple[tuple[Stack, Volume], ...]:
    rows, blobs, _ = load(folder)
    return tuple((stack, assemble(rows, blobs, stack=stack)) for stack in split(rows))


@pytest.fixture(scope="module")
def vendors(realdata) -> Path:
    return realdata / "multivendor_dicom"


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """``converted(folder, precise)``: what dcm2niix makes of a folder, (affine, values) for each volume."""

    @cache
    def convert(folder: Path, precise: str = "n") -> list[tuple[np.ndarray, np.ndarray]]:
        out = tmp_path_factory.mktemp("nifti")
        command = [sys.executable, "-m", "dcm2niix", "-z", "n", "-p", precise, "-f", "%s_%e"]
        subprocess.run([*command, "-o", str(out), str(folder)], check=True, capture_output=True)
        found = []
        for path in sorted(out.glob("*.nii")):
            image = nibabel.load(path)
            values = np.asanyarray(image.dataobj)
            values = values[..., None] if values.ndim == 3 else values
            lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
            found += [(lps, values[..., time]) for time in range(values.shape[3])]
        return found

    return convert


def on_grid(volume: Volume, affine: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values of another tool (column, row, slice in any direction) at the voxels of a volume."""
    steps = np.linalg.inv(affine) @ volume.grid.affine
    whole = np.rint(steps)
    np.testing.assert_allclose(affine @ whole, volume.grid.affine, atol=1e-3)
    assert abs(round(np.linalg.det(whole))) == 1
    places = np.indices(volume.shape).reshape(3, -1)
    column, row, level = (whole[:3, :3] @ places + whole[:3, 3:]).astype(int)
    assert min(column.min(), row.min(), level.min()) == 0
    return values[column, row, level].reshape(volume.shape)


@pytest.mark.parametrize("folder", list(SERIES))
def test_the_volumes_of_a_series(vendors, folder):
    count, shape, by = SERIES[folder]
    stacks = split(load(vendors / folder)[0])
    assert [stack.number for stack in stacks] == list(range(1, count + 1))
    assert {(stack.verdict.kind, stack.verdict.grid.shape) for stack in stacks} == {("regular", shape)}
    assert {" ".join(stack.by) for stack in stacks} == {by}
    verdict = series_verdict(stacks)
    assert (verdict.kind, verdict.slices) == ("regular", shape[0])
    assert verdict.spacing == pytest.approx(stacks[0].verdict.grid.spacing)


@pytest.mark.parametrize("folder", list(SERIES))
def test_affine_order_and_values_equal_dcm2niix(vendors, converted, folder):
    theirs = converted(vendors / folder)
    ours = volumes(vendors / folder)
    assert len(theirs) == len(ours)
    for (_, volume), (affine, values) in zip(ours, theirs, strict=True):
        # Where it rescales, it holds the slope as a single-precision number.
        rounding = 1e-6 if values.dtype.kind == "f" else 0.0
        np.testing.assert_allclose(
            on_grid(volume, affine, values), volume.numpy(), rtol=rounding, atol=500 * rounding
        )


@pytest.mark.parametrize("folder", sorted({folder for folder, _ in PRECISE}))
def test_philips_values_differ_by_one_factor_from_the_precise_ones(vendors, converted, folder):
    theirs = converted(vendors / folder, "y")
    for (stack, volume), (affine, values) in zip(volumes(vendors / folder), theirs, strict=True):
        ours = volume.numpy().astype(np.float64)
        slope, intercept = np.polyfit(ours.ravel(), on_grid(volume, affine, values).ravel(), 1)
        assert slope == pytest.approx(PRECISE[folder, stack.number], rel=1e-5)
        assert intercept == pytest.approx(0, abs=0.01)


def by_simpleitk(folder: Path) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def affine_of(image: sitk.Image) -> np.ndarray:
    axes = image.GetDimension()
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(axes, axes)[:3, :3]
    affine[:3, :3] = direction * np.array(image.GetSpacing())[:3]
    affine[:3, 3] = image.GetOrigin()[:3]
    return affine


@pytest.mark.parametrize("folder", AGREED)
def test_affine_order_and_values_equal_simpleitk(vendors, folder):
    image = by_simpleitk(vendors / folder)
    values = sitk.GetArrayFromImage(image)
    values = values[None] if values.ndim == 3 else values
    ours = volumes(vendors / folder)
    assert len(values) == len(ours)
    for (_, volume), theirs in zip(ours, values, strict=True):
        np.testing.assert_array_equal(on_grid(volume, affine_of(image), theirs.T), volume.numpy())


@pytest.mark.parametrize("folder", [*SHEETS, *PILES])
def test_where_simpleitk_makes_something_else_of_a_folder(vendors, folder):
    files = {path.parent for path in load(vendors / folder)[2]}
    assert by_simpleitk(files.pop()).GetSize() == {**SHEETS, **PILES}[folder]


@pytest.mark.parametrize("folder", list(SHEETS))
def test_the_tiles_of_a_mosaic_equal_simpleitks_sheet(vendors, folder):
    _, _, paths = load(vendors / folder)
    for stack, volume in volumes(vendors / folder):
        sheet = sitk.GetArrayFromImage(sitk.ReadImage(str(paths[stack.instances[0]])))[0]
        height, width = volume.shape[1:]
        for place, (_, tile) in enumerate(stack.verdict.order):
            down, across = divmod(tile, sheet.shape[1] // width)
            theirs = sheet[down * height : (down + 1) * height, across * width : (across + 1) * width]
            np.testing.assert_array_equal(volume.numpy()[place], theirs)


@pytest.mark.parametrize(
    "folder", ["dcm_qa_nih/In/20180918GE/mr_0004", "dcm_qa_philips/In/Magdeburg_2014/fmri"]
)
def test_simpleitk_agrees_once_it_gets_the_files_of_one_volume(vendors, tmp_path, folder):
    _, _, paths = load(vendors / folder)
    for stack, volume in volumes(vendors / folder)[:3]:
        own = tmp_path / str(stack.number)
        own.mkdir()
        for instance in stack.instances:
            (own / paths[instance].name).symlink_to(paths[instance])
        image = by_simpleitk(own)
        theirs = on_grid(volume, affine_of(image), sitk.GetArrayFromImage(image).T)
        np.testing.assert_allclose(volume.numpy(), theirs, rtol=1e-7)


def test_the_tilted_series_is_mended_as_dcm2niix_mends_it(vendors, converted):
    rows, blobs, _ = load(vendors / TILTED)
    (stack,) = split(rows)
    assert stack.verdict.kind == "tilt"
    with pytest.raises(ItemError) as caught:
        assemble(rows, blobs, stack=stack, mends=Mends(tilt="resample"))
    assert caught.value.reason == "geometry_uneven"
    volume = assemble(rows, blobs, mends=Mends(tilt="resample", uneven="resample"))
    assert (volume.shape, volume.unit) == ((37, 611, 512), "HU")
    assert "18.50 degrees" in volume.lineage.steps[0]
    assert "28 slices became 37" in volume.lineage.steps[1]
    # dcm2niix also moves the slices onto 611 rows; it takes another distance between slices (2.62 mm).
    raw, equal = converted(vendors / TILTED)
    assert equal[1].shape == (512, 611, 56)
    # The first slice lies where it lay, and its values are the file's.
    first = raw[1][:, ::-1, 0].T
    np.testing.assert_array_equal(volume.numpy()[0, -512:], first)
    np.testing.assert_allclose(volume.grid.direction.T @ volume.grid.direction, np.eye(3), atol=1e-6)
    # SimpleITK gives all slices the mean distance and no shear.
    image = by_simpleitk(vendors / TILTED)
    assert image.GetSize() == (512, 512, 28)
    assert image.GetSpacing()[2] == pytest.approx(5.6274, abs=1e-4)


@pytest.mark.parametrize(
    "folder",
    ["dcm_qa/In/Orientation/sag/sagasc36", "dcm_qa_enh/In/Philips", "dcm_qa_xa30/In/8_gre_field_mapping"],
)
def test_volumes_out_of_a_lake(vendors, lake: Lake, folder):
    ingest(lake, vendors / folder, engine="serial")
    expected = volumes(vendors / folder)
    found = lake.sql(
        "select stack, label, geometry, len(sop_instance_uids), frames from stacks order by 1"
    ).rows()
    assert [row[0] for row in found] == [stack.number for stack, _ in expected]
    for (stack, volume), (_, label, geometry, slices, frames) in zip(expected, found, strict=True):
        assert (geometry, slices) == ("regular", volume.shape[0])
        assert frames == [frame for _, frame in stack.verdict.order]
        assert json.loads(label) == dict(stack.label)
    assert lake.sql("select geometry, stacks from series").rows() == [("regular", len(expected))]
    cohort = select(lake, "all")
    run = prepare(cohort, plan='[geometry]\ngap = "fill"\n', engine="serial")
    assert run.counts == {"seen": len(expected), "stored": len(expected)}
    again = prepare(cohort, plan='[geometry]\ngap = "fill"\n', engine="serial")
    assert again.counts == {"seen": len(expected), "already": len(expected)}
    for (_, volume), prepared in zip(expected, iter_volumes(cohort), strict=True):
        np.testing.assert_array_equal(prepared.numpy(), volume.numpy())
        np.testing.assert_allclose(prepared.grid.affine, volume.grid.affine, atol=1e-9)


@pytest.mark.parametrize("folder", ["dcm_qa/In/Orientation/ax/axasc36", "dcm_qa/In/Orientation/sag/sagasc36"])
def test_tiles_lie_where_the_protocol_put_the_slices(vendors, folder):
    rows, blobs, _ = load(vendors / folder)
    # The protocol stands in the CSA header of the series as text; it gives the middle of every slice.
    found = re.findall(rb"sSliceArray\.asSlice\[(\d+)\]\.sPosition\.d(Sag|Cor|Tra)\s*=\s*(\S+)", blobs[0])
    centres = np.zeros((36, 3))
    for tile, axis, value in found:
        centres[int(tile), [b"Sag", b"Cor", b"Tra"].index(axis)] = float(value)
    right, down = np.reshape(rows[0]["image_orientation_patient"], (2, 3))
    ours = np.reshape(rows[0]["mosaic_positions"], (36, 3)) + 32 * 3.25 * (right + down)
    np.testing.assert_allclose(ours, centres, atol=1e-3)
