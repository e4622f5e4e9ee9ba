"""Random changes of patches: what is drawn, recorded and read back. Applying is apart (`apply_changes`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from voxlake.learning.segmentation.settings import PatchAugmentation

__all__ = ["AXES", "Changes", "draw_changes"]

AXES = {2: ("row", "column"), 3: ("slice", "row", "column")}
"""Names of the axes of an image by their number."""


@dataclass(frozen=True)
class Changes:
    """What was drawn for N patches with d axes, in the order slice, row, column.

    Parameters
    ----------
    mirror : torch.Tensor
        float32 (N, d), -1 where the axis is mirrored, else 1.
    turn : torch.Tensor
        float32 (N, d, d), rotation; the identity where a patch is not moved.
    factor : torch.Tensor
        float32 (N,), by which the content grows.
    lattice : torch.Tensor
        float32 (N, d, points, ...), displacement of the control points as a share of their distance; along
        the first axis slice, row, column.
    moved : torch.Tensor
        bool (N,), whether a patch is turned, scaled or deformed at all.
    gamma : torch.Tensor
        float32 (N,), exponent; negative for the inverted patch; 1 changes nothing.
    contrast, brightness : torch.Tensor
        float32 (N,), change as a share; change in standard deviations.
    noise : torch.Tensor
        float32 (N,), standard deviation in standard deviations of the patch.
    noise_seed : torch.Tensor
        int64 (N,), of the noise of each patch.
    blur : torch.Tensor
        float32 (N,), standard deviation of the filter in voxels.
    coarser : torch.Tensor
        float32 (N,), factor by which voxels get coarser; 1 changes nothing.
    """

    mirror: Tensor
    turn: Tensor
    factor: Tensor
    lattice: Tensor
    moved: Tensor
    gamma: Tensor
    contrast: Tensor
    brightness: Tensor
    noise: Tensor
    noise_seed: Tensor
    blur: Tensor
    coarser: Tensor

    def __len__(self) -> int:
        return len(self.mirror)

    def take(self, index: Sequence[int] | slice) -> Changes:
        """What was drawn for some of the patches."""
        return Changes(**{each.name: getattr(self, each.name)[index] for each in fields(self)})

    def record(self) -> dict[str, Any]:
        """Plain values that JSON holds without loss; see `read`."""
        return {each.name: getattr(self, each.name).tolist() for each in fields(self)}

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Changes:
        """What `record` wrote."""
        kinds = {"moved": torch.bool, "noise_seed": torch.int64}
        return cls(
            **{
                each.name: torch.tensor(record[each.name], dtype=kinds.get(each.name, torch.float32))
                for each in fields(cls)
            }
        )


def draw_changes(
    settings: PatchAugmentation, count: int, dimensions: int, rng: np.random.Generator
) -> Changes:
    """Draw the changes of patches.

    Parameters
    ----------
    settings : PatchAugmentation
        How far changes may go.
    count : int
        Patches, N.
    dimensions : {2, 3}
        Axes of a patch.
    rng : numpy.random.Generator
        Where the numbers come from; as many are taken whatever the settings are, but for the lattice.
    """

    def even(*shape: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        return rng.uniform(-1.0, 1.0, shape)

    def taken(share: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return rng.random(count) < share

    flips = np.array([axis in settings.flip for axis in AXES[dimensions]])
    mirror = np.where((even(count, dimensions) < 0) & flips, -1.0, 1.0)
    moved = taken(settings.moved) & settings.moves()
    angles = even(count, 3) * math.radians(settings.rotate) * moved[:, None]
    factor = (1 + settings.scale) ** (even(count) * moved)
    points = settings.points if settings.elastic else 4
    lattice = even(count, dimensions, *[points] * dimensions) * settings.elastic
    lattice *= moved.reshape(-1, *[1] * (dimensions + 1))
    exponent = (1 + settings.gamma) ** (even(count) * taken(settings.changed))
    inverted = (rng.random(count) < 0.5) & (exponent != 1)
    coarsest = max(1.0, settings.low_resolution)
    return Changes(
        mirror=_float(mirror),
        turn=_float(_rotations(angles, dimensions)),
        factor=_float(factor),
        lattice=_float(lattice),
        moved=torch.from_numpy(moved),
        gamma=_float(np.where(inverted, -exponent, exponent)),
        contrast=_float(even(count) * settings.contrast * taken(settings.changed)),
        brightness=_float(even(count) * settings.brightness * taken(settings.changed)),
        noise=_float(rng.random(count) * settings.noise * taken(settings.changed)),
        noise_seed=torch.from_numpy(rng.integers(0, 2**62, count)),
        blur=_float(rng.random(count) * settings.blur * taken(settings.changed)),
        coarser=_float(1 + rng.random(count) * (coarsest - 1) * taken(settings.changed)),
    )


def _float(values: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def _rotations(angles: np.ndarray[Any, np.dtype[np.float64]], dimensions: int) -> np.ndarray[Any, Any]:
    """(N, 3) angles about slice, row and column axis to (N, d, d); in two dimensions about the normal."""
    turns = np.broadcast_to(np.eye(3), (len(angles), 3, 3)).copy()
    for axis in range(3):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        part = np.broadcast_to(np.eye(3), turns.shape).copy()
        cosine, sine = np.cos(angles[:, axis]), np.sin(angles[:, axis])
        part[:, one, one] = part[:, other, other] = cosine
        part[:, one, other], part[:, other, one] = -sine, sine
        turns = turns @ part
        if dimensions == 2:
            return turns[:, 1:, 1:]
    return turns
