"""The contract of steps finds steps that break it."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from pydantic import PrivateAttr

from voxlake.core.errors import ItemError
from voxlake.core.step import Step
from voxlake.core.volume import Mask, Volume
from voxlake.testing.steps import StepContract, changed_settings
from voxlake.testing.strategies import masks


class Good(Step):
    """Adds `amount`, in the unit of the volume; NaN stays NaN."""

    name: ClassVar[str] = "good"
    amount: float = 1.0

    def __call__(self, volume: Volume) -> Volume:
        return volume.with_data(volume.numpy() + np.float32(self.amount), step=self.tag)


class WritesInput(Good):
    """Adds `amount`, unit, NaN."""

    def __call__(self, volume: Volume) -> Volume:
        data = volume.numpy()
        data[...] = 0
        return volume.with_data(data, step=self.tag)


class ForgetsLineage(Good):
    """Adds `amount`, unit, NaN."""

    def __call__(self, volume: Volume) -> Volume:
        return Volume(volume.numpy() + np.float32(1), volume.grid, volume.unit)


class Random(Good):
    """Adds `amount`, unit, NaN."""

    _state: Any = PrivateAttr(default_factory=np.random.default_rng)

    def __call__(self, volume: Volume) -> Volume:
        return volume.with_data(volume.numpy() + np.float32(self._state.normal()), step=self.tag)


class LosesDigest(Good):
    """Adds `amount`, unit, NaN."""

    def digest(self) -> str:
        return "0" * 64


class LosesNone(Good):
    """Adds `amount`, unit, NaN; None is not the default."""

    amount: float | None = 1.0  # type: ignore[assignment]


class Undocumented(Good):
    """Adds."""


class WrongReason(Good):
    """Adds `amount`, unit, NaN."""

    def __call__(self, volume: Volume) -> Volume:
        raise ItemError("truncated", "this reason is not a step's")


class Poisoned(Good):
    """Adds `amount`, unit, NaN."""

    def __call__(self, volume: Volume) -> Volume:
        return volume.with_data(volume.numpy() - volume.numpy().mean(dtype=np.float64), step=self.tag)


CONTRACT = StepContract()


@pytest.mark.parametrize(
    ("test", "step"),
    [
        ("test_leaves_its_input_alone", WritesInput()),
        ("test_works_or_refuses", ForgetsLineage()),
        ("test_is_deterministic", Random()),
        ("test_digest_follows_every_setting", LosesDigest()),
        ("test_settings_round_trip_through_toml", LosesNone(amount=None)),
        ("test_says_what_it_does", Undocumented()),
        ("test_works_or_refuses", WrongReason()),
        ("test_one_nan_does_not_drown_the_rest", Poisoned()),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_broken_steps_are_found(test: str, step: Step) -> None:
    arguments = {"kind": "real"} if "kind" in getattr(CONTRACT, test).__code__.co_varnames else {}
    getattr(CONTRACT, test)(Good(), **arguments)
    with pytest.raises((AssertionError, ValueError)):
        getattr(CONTRACT, test)(step, **arguments)


def test_every_setting_is_changed() -> None:
    assert [key for key, _ in changed_settings(Good())] == ["amount"]


@settings(max_examples=20, deadline=None)
@given(masks(labels=2))
def test_masks_are_masks(mask: Mask) -> None:
    assert mask.numpy().shape == mask.grid.shape
    assert mask.numpy().max() <= 2
    assert [label.value for label in mask.labels] == [1, 2]
