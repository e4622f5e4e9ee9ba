"""What drawing and applying share: random steps, the steps they draw, and masks that follow."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from pydantic import AfterValidator, Field

from voxlake.core.errors import UsageError
from voxlake.core.grid import Grid
from voxlake.core.plan import Plan
from voxlake.core.settings import Settings
from voxlake.core.step import Step
from voxlake.core.volume import Mask
from voxlake.processing.gamma import Gamma
from voxlake.processing.gaussian import Gaussian

__all__ = [
    "Augmentation",
    "FollowedByMasks",
    "InPlace",
    "RandomStep",
    "Range",
    "Seed",
    "SizeRange",
    "apply_to_mask",
    "draw_seed",
    "uniform",
]


# Steps of other files that random steps draw and that move no voxel.
_STILL = (Gamma, Gaussian)


def _in_order(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"a range is [low, high], got {list(value)}")
    return value


_Bounded = Annotated[float, Field(ge=-1e6, le=1e6)]
Range = Annotated[tuple[_Bounded, _Bounded], AfterValidator(_in_order)]
"""Lowest and highest value of a uniform draw."""


def _from_zero(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] < 0:
        raise ValueError(f"a range of numbers from 0, got {list(value)}")
    return value


SizeRange = Annotated[Range, AfterValidator(_from_zero)]
"""A range of numbers that are not negative."""

Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""Seed of noise, a whole number that TOML holds."""


@runtime_checkable
class FollowedByMasks(Protocol):
    """A step that says what it does to a mask of the volume."""

    def apply_mask(self, mask: Mask) -> Mask:
        """The mask after the step, by nearest neighbour; its labels stay."""
        ...


class InPlace(Step):
    """A step that changes values and leaves every voxel where it is, so that masks stay as they are."""

    def apply_mask(self, mask: Mask) -> Mask:
        """The mask as it was: nothing moves."""
        return mask


class RandomStep(Settings):
    """Draws a step: ranges in, one frozen step with numbers out.

    A subclass sets `name` and `version` (raised whenever the same settings and the same generator would draw
    another step) and implements `draw`, which asks nothing but the generator and the grid.

    Parameters
    ----------
    probability : float
        Share of draws in which the step is taken at all.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1

    probability: Annotated[float, Field(ge=0, le=1)] = 1.0

    @abstractmethod
    def draw(self, rng: np.random.Generator, grid: Grid) -> Step:
        """Draw a step for volumes on `grid`, regardless of `probability`."""

    def to_dict(self) -> dict[str, Any]:
        """Name and all settings, as an augmentation writes them."""
        return {"step": self.name, **self.model_dump(mode="json")}


@runtime_checkable
class _Merges(Protocol):
    def after(self, first: Step) -> Step | None: ...


@dataclass(frozen=True)
class Augmentation:
    """Random steps to be drawn and applied one after the other.

    Drawing gives a `Plan`: calling it applies what was drawn, `Plan.to_toml` records it, and the plan read
    back gives the same values again. An affine step and one that follows it (affine or elastic) become one
    step: voxels are interpolated once instead of twice, which is faster and blurs less.
    """

    steps: tuple[RandomStep, ...] = ()

    def __iter__(self) -> Iterator[RandomStep]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def draw(self, rng: np.random.Generator, grid: Grid) -> Plan:
        """Draw a plan for volumes on `grid`.

        Parameters
        ----------
        rng : numpy.random.Generator
            Its state decides everything; it moves on by as much whatever the probabilities decide.
        grid : Grid
            Of the volumes that the plan is meant for.
        """
        drawn: list[Step] = []
        for each in self.steps:
            # Each step draws from a generator of its own: leaving one out does not change the others.
            taken = rng.random() < each.probability
            own = np.random.default_rng(draw_seed(rng))
            if taken:
                _append(drawn, each.draw(own, grid))
        return Plan.of(drawn)


def apply_to_mask(plan: Plan, mask: Mask) -> Mask:
    """Let a mask follow its volume through a drawn plan, by nearest neighbour.

    Raises
    ------
    UsageError
        A step of the plan does not say what it does to a mask.
    """
    for step in plan:
        if isinstance(step, _STILL):
            continue
        if not isinstance(step, FollowedByMasks):
            raise UsageError(
                f"'{step.name}' does not say what it does to a mask; apply it before drawing, "
                "to the volume and to the mask"
            )
        mask = step.apply_mask(mask)
    return mask


def draw_seed(rng: np.random.Generator) -> int:
    """A seed that TOML holds."""
    return int(rng.integers(0, 2**63, dtype=np.uint64))


def uniform(rng: np.random.Generator, between: tuple[float, float]) -> float:
    """A number from a range."""
    return float(rng.uniform(*between))


def _append(drawn: list[Step], step: Step) -> None:
    merged = step.after(drawn[-1]) if drawn and isinstance(step, _Merges) else None
    if merged is None:
        drawn.append(step)
    else:
        drawn[-1] = merged
