"""Masks to contours and back: random regions with holes, islands, corners and edges of the image."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom.dataset import Dataset
from scipy import ndimage

from voxlake.core.grid import Grid
from voxlake.core.volume import Label
from voxlake.dicom.polygon import fill
from voxlake.dicom.read import read_dataset
from voxlake.dicom.rtstruct import read_rtstruct
from voxlake.dicom.rtstruct_masks import rasterise
from voxlake.dicom.write_common import ImageReference, Sources
from voxlake.dicom.write_outlines import outlines
from voxlake.dicom.write_rtstruct import RegionToWrite, write_rtstruct

SIZES = st.integers(1, 14)
IMAGES = st.tuples(SIZES, SIZES).flatmap(lambda shape: arrays(np.bool_, shape))
VOLUMES = st.tuples(st.integers(1, 4), SIZES, SIZES).flatmap(lambda shape: arrays(np.bool_, shape))


def sources() -> Sources:
    header = Dataset()
    header.StudyInstanceUID, header.PatientID = "1.2.3", "P"
    return Sources(header, (), (ImageReference("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", "1.2.3.5"),))


def area(polygon: np.ndarray) -> float:
    row, column = polygon.T
    return abs(float(np.sum(column * np.roll(row, -1) - np.roll(column, -1) * row))) / 2


@settings(max_examples=200, deadline=None)
@given(IMAGES)
def test_filled_outlines_are_the_region(region):
    found = outlines(region)
    assert np.array_equal(fill(found, region.shape), region)


@settings(max_examples=100, deadline=None)
@given(IMAGES)
def test_there_is_one_polygon_for_each_part_and_it_is_that_part(region):
    parts, count = ndimage.label(region)
    found = outlines(region)
    assert len(found) == count
    alone = [fill([polygon], region.shape) for polygon in found]
    expected = {(parts == number + 1).tobytes() for number in range(count)}
    assert {part.tobytes() for part in alone} == expected


@settings(max_examples=100, deadline=None)
@given(IMAGES)
def test_the_area_is_that_of_the_pixels(region):
    filled = ndimage.binary_fill_holes(region)
    # Without holes there is no channel whose corners could hide a wrong sign.
    assert sum(map(area, outlines(filled))) == filled.sum()
    assert all(
        np.array_equal(np.mod(polygon, 1), np.full(polygon.shape, 0.5)) for polygon in outlines(region)
    )


@settings(max_examples=40, deadline=None)
@given(VOLUMES, st.integers(0, 2**32 - 1))
def test_a_structure_set_comes_back_voxel_for_voxel_on_oblique_grids(values, seed):
    rng = np.random.default_rng(seed)
    turned, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    steps = turned * rng.uniform(0.3, 6.0, 3)
    grid = Grid.from_vectors(
        values.shape,
        origin=rng.uniform(-900, 900, 3),
        slice_step=steps[:, 0],
        row_step=steps[:, 1],
        column_step=steps[:, 2],
        frame="1.2.3.9",
    )
    values = values.copy()
    values[0, 0, 0] = True
    data = write_rtstruct(
        [RegionToWrite(Label(7, "region"), values)], grid, sources(), uids=("1.2.3.6", "1.2.3.7")
    )
    mask = rasterise(read_rtstruct(read_dataset(data)), grid, 7)
    assert np.array_equal(mask.numpy() > 0, values)


def test_a_long_contour_fits_into_the_file():
    values = np.zeros((1, 400, 400), dtype=bool)
    # A comb whose outline needs far more than the 65,534 bytes of an element with a short length.
    values[0, :, ::2] = True
    values[0, 200] = True
    grid = Grid.from_spacing(values.shape, (1.0, 0.123457, 0.123457), frame="1.2.3.9")
    data = write_rtstruct(
        [RegionToWrite(Label(1, "comb"), values)], grid, sources(), uids=("1.2.3.6", "1.2.3.7")
    )
    structures = read_rtstruct(read_dataset(data))
    assert len(structures.regions[1].contours[0].points) > 800
    assert np.array_equal(rasterise(structures, grid, 1).numpy() > 0, values)
