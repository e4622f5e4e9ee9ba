"""Every method and every edit of mask plans keeps its contract; the contract finds those that do not."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import PrivateAttr

from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid
from voxlake.core.mask_step import MaskEdit, MaskStep
from voxlake.core.volume import Label, Mask, Volume
from voxlake.processing.segment.registry import CLEANERS, METHODS
from voxlake.sources.anatomy import random_anatomy
from voxlake.sources.painting import paint
from voxlake.testing.mask_steps import MaskEditContract, MaskStepContract

EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "airways_ct": [{}],
    "body_ct": [{}],
    "bone_ct": [{}],
    "brain_mr": [{"spacing": 4.0}],
    "chan_vese": [{"low": 100.0, "high": 2000.0, "rounds": 3}],
    "gaussian_mixture": [{"classes": 2, "over": "all"}],
    "geodesic_contour": [{"low": 100.0, "high": 2000.0, "rounds": 3}],
    "kmeans": [{}, {"classes": 2, "over": "all", "bins": 256}],
    "li": [{}],
    "lungs_ct": [{}],
    "lungs_xray": [{}],
    "otsu": [{}, {"classes": 3, "over": 50.0, "bins": 64}],
    "random_walker": [{"below": 0.0, "above": 120.0}],
    "region_grow": [
        {"seeds": [[0, 6, 5]], "places": "voxel", "low": -2000.0, "high": 3000.0},
        {"seeds": [[1.0, 1.0, 0.0]], "low": -2000.0, "high": 3000.0, "connectivity": "corners"},
    ],
    "threshold": [{"low": 90.0}, {"low": -100.0, "high": 90.5, "unit": "HU"}],
    "watershed": [{"below": 0.0, "above": 120.0}],
}
EDITS: dict[str, list[dict[str, Any]]] = {
    "close": [{"radius": 1.5}, {"radius": 1.0, "lengths": "voxel"}],
    "dilate": [{"radius": 1.5}, {"radius": 1.0, "lengths": "voxel"}],
    "erode": [{"radius": 1.5}, {"radius": 1.0, "lengths": "voxel"}],
    "fill_holes": [{}, {"within": "slices"}],
    "keep_largest": [{}, {"count": 2, "together": True, "connectivity": "corners"}],
    "open": [{"radius": 1.5}, {"radius": 1.0, "lengths": "voxel"}],
    "remove_small": [{"size": 20.0}, {"size": 3.0, "lengths": "voxel"}],
}


def chest() -> Volume:
    """A made-up chest in HU, voxels of 4 mm."""
    x, y, z = np.arange(-180, 181, 4.0), np.arange(-140, 141, 4.0), np.arange(-120, 126, 4.0)
    values = paint(random_anatomy((4, 1), nodule=False, radius=(5, 6)), x, y, z)
    values = values + np.random.default_rng(0).normal(0, 10, values.shape)
    return Volume(values.astype(np.float32), Grid.from_spacing(values.shape, (4.0, 4.0, 4.0)), "HU", "CT")


def head() -> Volume:
    """A bright brain in a dark skull under a scalp, voxels of 4 mm."""
    z, y, x = np.meshgrid(*(np.arange(-n, n + 1, 4.0) for n in (100, 120, 100)), indexing="ij")
    radius = np.sqrt((x / 78) ** 2 + (y / 95) ** 2 + (z / 80) ** 2)
    values = np.select([radius < 0.82, radius < 0.95, radius < 1.1], [120.0, 15.0, 160.0], 2.0)
    values = values + np.random.default_rng(0).normal(0, 3, values.shape)
    return Volume(values.astype(np.float32), Grid.from_spacing(values.shape, (4.0, 4.0, 4.0)), modality="MR")


def radiograph() -> Volume:
    """Two dark lungs beside a bright spine."""
    y, x = np.mgrid[:128, :128]
    values = np.full((128, 128), 150.0)
    values[:, 60:68] = 200.0
    for column in (36, 92):
        values[((x - column) / 16) ** 2 + ((y - 58) / 34) ** 2 < 1] = 60.0
    return Volume(values[None].astype(np.float32), Grid.flat_image((128, 128)), modality="DX")


def subjects() -> dict[str, Volume]:
    body = chest()
    organs = dict.fromkeys(("airways_ct", "body_ct", "bone_ct", "lungs_ct"), body)
    return {**organs, "brain_mr": head(), "lungs_xray": radiograph()}


def test_every_method_and_edit_has_an_example() -> None:
    assert sorted(EXAMPLES) == sorted(METHODS)
    assert sorted(EDITS) == sorted(CLEANERS)


def cases(known: Any, examples: dict[str, list[dict[str, Any]]]) -> list[Any]:
    return [
        pytest.param(known[name].read(settings), id=f"{name}-{number}")
        for name, tables in examples.items()
        for number, settings in enumerate(tables)
    ]


@pytest.mark.parametrize("step", cases(METHODS, EXAMPLES))
class TestEveryMethod(MaskStepContract):
    """The contract, over the registry."""

    subjects = subjects()


@pytest.mark.parametrize("step", cases(CLEANERS, EDITS))
class TestEveryEdit(MaskEditContract):
    """The contract, over the registry."""


class Good(MaskStep):
    """Values above `low`; NaN is background."""

    name: ClassVar[str] = "good"
    low: float = 50.0

    def __call__(self, volume: Volume) -> Mask:
        if volume.channels != 1:
            raise ItemError("step_failed", "good: a colour image")
        return self.mask(volume.numpy() > self.low, volume)

    def mask(self, inside: np.ndarray, volume: Volume) -> Mask:
        lineage = volume.lineage.then(self.tag)
        return Mask(inside.astype(np.uint8), volume.grid, (Label(1, "Inside"),), lineage)


class Random(Good):
    """`low`, NaN."""

    _state: Any = PrivateAttr(default_factory=np.random.default_rng)

    def __call__(self, volume: Volume) -> Mask:
        return self.mask(self._state.random(volume.grid.shape) > 0.5, volume)


class Unlabelled(Good):
    """`low`, NaN."""

    def __call__(self, volume: Volume) -> Mask:
        return Mask(np.ones(volume.grid.shape, np.uint8), volume.grid, (), volume.lineage.then(self.tag))


class TakesNaN(Good):
    """`low`, NaN."""

    def __call__(self, volume: Volume) -> Mask:
        return self.mask(np.ones(volume.grid.shape, bool), volume)


class Writes(Good):
    """`low`, NaN."""

    def __call__(self, volume: Volume) -> Mask:
        volume.numpy()[...] = 0
        return super().__call__(volume)


class Forgets(Good):
    """`low`, NaN."""

    def __call__(self, volume: Volume) -> Mask:
        return Mask(np.zeros(volume.grid.shape, np.uint8), volume.grid)


class Refuses(Good):
    """`low`, NaN."""

    def __call__(self, volume: Volume) -> Mask:
        raise ItemError("step_failed", "refuses everything")


class Relabels(MaskEdit):
    """Gives all voxels a value of its own."""

    name: ClassVar[str] = "relabels"

    def __call__(self, mask: Mask, volume: Volume) -> Mask:
        lineage = mask.lineage.then(self.tag)
        return Mask(np.full(volume.grid.shape, 9, np.uint8), mask.grid, mask.labels, lineage)


class Idle(Relabels):
    """Does nothing."""

    def __call__(self, mask: Mask, volume: Volume) -> Mask:
        return Mask(mask.numpy(), volume.grid, mask.labels, mask.lineage.then(self.tag))


@pytest.mark.parametrize(
    ("step", "test", "arguments"),
    [
        (Random(), "test_works_or_refuses", ("real",)),
        (Unlabelled(), "test_works_or_refuses", ("real",)),
        (Forgets(), "test_works_or_refuses", ("real",)),
        (TakesNaN(), "test_nan_is_no_foreground", ()),
        (Refuses(), "test_takes_something", ()),
    ],
    ids=lambda value: getattr(value, "__class__", type(value)).__name__,
)
def test_broken_methods_are_found(step: MaskStep, test: str, arguments: tuple[str, ...]) -> None:
    suite = MaskStepContract()
    getattr(suite, test)(Good(), *arguments)
    with pytest.raises(AssertionError):
        getattr(suite, test)(step, *arguments)


def test_a_method_that_writes_is_found() -> None:
    with pytest.raises(ValueError, match="read-only"):
        MaskStepContract().test_works_or_refuses(Writes(), "real")


def test_broken_edits_are_found() -> None:
    suite = MaskEditContract()
    with pytest.raises(AssertionError, match="not there"):
        suite.test_works_or_refuses(Relabels(), "two labels")
    with pytest.raises(AssertionError):
        suite.test_changes_something(Idle())
