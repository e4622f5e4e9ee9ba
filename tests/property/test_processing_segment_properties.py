"""Laws of thresholds and of the edits of masks."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from voxlake.core.grid import Grid
from voxlake.core.mask_step import MaskEdit, MaskStep
from voxlake.core.volume import Label, Mask, Volume
from voxlake.processing.segment.closing import Close
from voxlake.processing.segment.dilate import Dilate
from voxlake.processing.segment.erode import Erode
from voxlake.processing.segment.fill_holes import FillHoles
from voxlake.processing.segment.keep_largest import KeepLargest
from voxlake.processing.segment.kmeans import KMeans
from voxlake.processing.segment.li import Li
from voxlake.processing.segment.opening import Open
from voxlake.processing.segment.otsu import Otsu
from voxlake.processing.segment.region_grow import RegionGrow
from voxlake.processing.segment.remove_small import RemoveSmall
from voxlake.processing.segment.threshold import Threshold

SPACING = (2.0, 1.0, 0.75)
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7))
LABELLED = SHAPES.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 1, 1, 3])))
BINARY = SHAPES.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 1)))
IMAGES = SHAPES.flatmap(lambda shape: arrays(np.int16, shape, elements=st.integers(-1000, 1000)))
RADII = st.floats(0.5, 4.0)
SOME = settings(max_examples=20, deadline=None)

LESS: tuple[MaskEdit, ...] = (
    Erode(radius=1.0), Open(radius=1.0), KeepLargest(), KeepLargest(together=True), RemoveSmall(size=4.0),
)  # fmt: skip
MORE: tuple[MaskEdit, ...] = (
    Dilate(radius=1.0), Close(radius=1.5), FillHoles(), FillHoles(within="slices"),
)  # fmt: skip
STABLE: tuple[MaskEdit, ...] = (
    Open(radius=1.5), KeepLargest(), KeepLargest(count=2, connectivity="corners"), RemoveSmall(size=4.0),
    FillHoles(), FillHoles(within="slices"),
)  # fmt: skip
METHODS: tuple[MaskStep, ...] = (
    Threshold(low=-100.0, high=300.0), Otsu(classes=3), Li(), KMeans(classes=2, over="all", bins=64),
)  # fmt: skip


def tag(part: MaskEdit | MaskStep) -> str:
    return f"{part.name}-{'-'.join(f'{value}' for value in part.model_dump().values())}"


def after(edit: MaskEdit, values: np.ndarray, labels: tuple[Label, ...] = ()) -> np.ndarray:
    grid = Grid.from_spacing(values.shape, SPACING)
    done = edit(Mask(values, grid, labels), Volume(np.zeros(values.shape, np.float32), grid))
    assert tuple(done.labels) == labels
    return done.numpy()


def found(step: MaskStep, values: np.ndarray) -> np.ndarray:
    return step(Volume(values, Grid.from_spacing(values.shape, SPACING), "HU")).numpy()


@pytest.mark.parametrize("edit", LESS, ids=tag)
@SOME
@given(LABELLED)
def test_edits_that_take_away_take_only_away(edit: MaskEdit, values: np.ndarray) -> None:
    done = after(edit, values, (Label(1, "One"), Label(3, "Three")))
    assert np.array_equal(done[done > 0], values[done > 0])


@pytest.mark.parametrize("edit", MORE, ids=tag)
@SOME
@given(LABELLED)
def test_edits_that_add_leave_every_label_what_it_has(edit: MaskEdit, values: np.ndarray) -> None:
    done = after(edit, values, (Label(1, "One"), Label(3, "Three")))
    assert np.array_equal(done[values > 0], values[values > 0])
    assert set(np.unique(done)) - {0} <= set(np.unique(values))


@pytest.mark.parametrize("edit", STABLE, ids=tag)
@SOME
@given(LABELLED)
def test_once_is_enough(edit: MaskEdit, values: np.ndarray) -> None:
    once = after(edit, values)
    assert np.array_equal(after(edit, once), once)


@SOME
@given(BINARY, RADII)
def test_closing_one_region_once_is_enough(values: np.ndarray, radius: float) -> None:
    once = after(Close(radius=radius), values)
    assert np.array_equal(after(Close(radius=radius), once), once)


@SOME
@given(BINARY, RADII)
def test_eroding_is_dilating_the_rest(values: np.ndarray, radius: float) -> None:
    assert np.array_equal(after(Erode(radius=radius), values), 1 - after(Dilate(radius=radius), 1 - values))


@SOME
@given(BINARY, RADII)
def test_morphology_is_ordered(values: np.ndarray, radius: float) -> None:
    chain = [after(edit(radius=radius), values) for edit in (Erode, Open)]
    chain += [values, *(after(edit(radius=radius), values) for edit in (Close, Dilate))]
    assert all((one <= other).all() for one, other in pairwise(chain))


@pytest.mark.parametrize("edit", [Erode, Dilate])
@SOME
@given(LABELLED, RADII, RADII)
def test_a_larger_ball_does_more(
    edit: type[Erode] | type[Dilate], values: np.ndarray, one: float, other: float
) -> None:
    little, much = (after(edit(radius=radius), values) > 0 for radius in sorted((one, other)))
    assert (little <= much).all() if edit is Dilate else (little >= much).all()


@pytest.mark.parametrize("edit", [*MORE, Erode(radius=1.0), Open(radius=1.0)], ids=tag)
@SOME
@given(BINARY, st.integers(0, 2**31))
def test_more_in_gives_more_out(edit: MaskEdit, values: np.ndarray, seed: int) -> None:
    part = values * np.random.default_rng(seed).integers(0, 2, values.shape).astype(np.uint8)
    assert (after(edit, part) <= after(edit, values)).all()


@SOME
@given(LABELLED, st.integers(1, 4), st.floats(0.5, 20), st.floats(0.5, 20))
def test_more_components_are_kept_if_more_are_asked_for(
    values: np.ndarray, count: int, one: float, other: float
) -> None:
    few, many = (after(KeepLargest(count=number), values) for number in (count, count + 1))
    assert (few <= many).all()
    low, high = sorted((one, other))
    assert (after(RemoveSmall(size=high), values) <= after(RemoveSmall(size=low), values)).all()


@SOME
@given(IMAGES, st.lists(st.floats(-1000, 1000), min_size=4, max_size=4))
def test_a_wider_range_holds_the_narrower_one(values: np.ndarray, ends: list[float]) -> None:
    a, b, c, d = sorted(ends)
    inner, outer = (found(Threshold(low=low, high=high), values) for low, high in ((b, c), (a, d)))
    assert (inner <= outer).all()
    assert np.array_equal(inner, found(Threshold(low=b), values) & found(Threshold(high=c), values))
    assert (found(Threshold(low=a), values) | found(Threshold(high=a), values)).all()


@pytest.mark.parametrize("method", METHODS[1:], ids=tag)
@SOME
@given(IMAGES)
def test_classes_follow_the_values(method: MaskStep, values: np.ndarray) -> None:
    assume(np.unique(values).size >= 3)
    order = np.argsort(values, axis=None, kind="stable")
    classes = found(method, values).ravel()[order].astype(int)
    assert (np.diff(classes) >= 0).all()
    same = np.diff(values.ravel()[order]) == 0
    assert (np.diff(classes)[same] == 0).all()


@pytest.mark.parametrize("method", METHODS[1:], ids=tag)
@SOME
@given(IMAGES, st.integers(-3, 3))
def test_the_unit_of_the_values_does_not_matter(method: MaskStep, values: np.ndarray, power: int) -> None:
    assume(np.unique(values).size >= 3)
    # Powers of two, which are exact.
    assert np.array_equal(found(method, values * 2.0**power), found(method, values.astype(np.float64)))


@SOME
@given(IMAGES, st.integers(0, 2**31), st.integers(0, 500), st.integers(0, 500))
def test_a_region_is_within_its_range_and_grows_with_it(
    values: np.ndarray, seed: int, one: int, other: int
) -> None:
    place = np.random.default_rng(seed).integers(values.shape)
    middle = int(values[tuple(place)])
    narrow, wide = (
        found(
            RegionGrow.read(
                {"seeds": [place.tolist()], "places": "voxel", "low": middle - far, "high": middle + far}
            ),
            values,
        )
        for far in sorted((one, other))
    )
    assert narrow[tuple(place)] == 1
    assert (narrow <= wide).all()
    assert (
        wide <= found(Threshold(low=middle - max(one, other), high=middle + max(one, other)), values)
    ).all()


def layouts(values: np.ndarray) -> list[np.ndarray]:
    """The same values, laid out otherwise in memory."""
    spread = np.repeat(values, 2, axis=2)[:, :, ::2]
    turned = np.ascontiguousarray(values[::-1, :, ::-1])[::-1, :, ::-1]
    return [np.asfortranarray(values), spread, turned]


@pytest.mark.parametrize("part", [*LESS, *MORE, *METHODS], ids=tag)
@SOME
@given(LABELLED)
def test_layout_in_memory_does_not_matter(part: Any, values: np.ndarray) -> None:
    assume(np.unique(values).size == 3)
    apply = after if isinstance(part, MaskEdit) else found
    expected = apply(part, values)
    assert all(np.array_equal(apply(part, other), expected) for other in layouts(values))


@pytest.mark.parametrize("part", [LESS[0], LESS[1], LESS[4], *MORE, *METHODS], ids=tag)
@SOME
@given(LABELLED, st.lists(st.booleans(), min_size=3, max_size=3))
def test_what_is_mirrored_gives_the_mirrored_mask(part: Any, values: np.ndarray, flips: list[bool]) -> None:
    assume(np.unique(values).size == 3)
    mirror = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    apply = after if isinstance(part, MaskEdit) else found
    assert np.array_equal(apply(part, values[mirror]), apply(part, values)[mirror])
