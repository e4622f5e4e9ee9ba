"""Test-time augmentation: a network looks at an image turned and mirrored, and the answers are averaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from voxlake.core.errors import UsageError

__all__ = ["Activation", "Augmented", "Symmetry", "activated", "symmetries"]

Axis = Literal["slice", "row", "column"]
Activation = Literal["softmax", "sigmoid", "none"]
_AXES: tuple[Axis, ...] = ("column", "row", "slice")


@dataclass(frozen=True)
class Symmetry:
    """A mirroring followed by right-angle turns in the plane of rows and columns; no value is interpolated.

    Parameters
    ----------
    flips : tuple of {"slice", "row", "column"}
        Axes along which the image is mirrored first.
    turns : int
        Turns by 90 degrees, 0 to 3.
    """

    flips: tuple[Axis, ...] = ()
    turns: int = 0

    def apply(self, images: Tensor) -> Tensor:
        """Images (N, C, [D,] H, W) mirrored and turned."""
        return torch.rot90(torch.flip(images, self._axes()), self.turns, (-2, -1))

    def undo(self, maps: Tensor) -> Tensor:
        """Maps of such images brought back."""
        return torch.flip(torch.rot90(maps, -self.turns, (-2, -1)), self._axes())

    def _axes(self) -> list[int]:
        return [-1 - _AXES.index(axis) for axis in self.flips]


def symmetries(flips: Sequence[Axis] = ("column",), *, turns: bool = False) -> tuple[Symmetry, ...]:
    """All different ways to mirror along some axes and to turn; the first one changes nothing.

    Parameters
    ----------
    flips : sequence of {"slice", "row", "column"}
        Axes that may be mirrored. Which of them make sense is a matter of anatomy: left and right differ.
    turns : bool
        Also turn by 90, 180 and 270 degrees in the plane of rows and columns, which must be equally many.
    """
    probe = torch.arange(8).reshape(1, 1, 2, 2, 2)
    found: dict[tuple[int, ...], Symmetry] = {}
    for turn in range(4 if turns else 1):
        for count in range(len(flips) + 1):
            for chosen in combinations(tuple(dict.fromkeys(flips)), count):
                one = Symmetry(chosen, turn)
                # Mirrored along both axes is turned by 180 degrees: what moves voxels alike counts once.
                found.setdefault(tuple(one.apply(probe).flatten().tolist()), one)
    return tuple(found.values())


def activated(outputs: Tensor, activation: Activation) -> Tensor:
    """Outputs (N, K, ...) as probabilities, float32: softmax over K, sigmoid of each, or as they are."""
    match activation:
        case "softmax":
            return torch.softmax(outputs.float(), dim=1)
        case "sigmoid":
            return torch.sigmoid(outputs.float())
        case "none":
            return outputs.float()


class Augmented(nn.Module):
    """A network that answers with the mean over symmetries, as probabilities.

    Can stand wherever the network can: in `voxlake.networks.tiled.iter_tiled`, and in an ensemble.

    Parameters
    ----------
    network : torch.nn.Module
        Maps (N, C, [D,] H, W) to (N, K), or to maps (N, K, [D,] H, W), which are brought back before they are
        averaged.
    symmetries : sequence of Symmetry
        From `symmetries`.
    activation : {"softmax", "sigmoid", "none"}
        What makes probabilities of outputs: these are averaged, not the outputs (nnU-Net; Wang et al., 2019,
        doi:10.1016/j.neucom.2019.01.103).
    """

    def __init__(
        self, network: nn.Module, symmetries: Sequence[Symmetry], *, activation: Activation = "softmax"
    ) -> None:
        super().__init__()
        if not symmetries:
            raise UsageError(
                "test-time augmentation needs at least one symmetry: Symmetry() leaves all as it is"
            )
        self.network = network
        self.symmetries = tuple(symmetries)
        self.activation: Activation = activation

    def answers(self, images: Tensor) -> Iterator[Tensor]:
        """The probabilities under each symmetry, (N, K) or brought back (N, K, [D,] H, W)."""
        flat = images.ndim == 4
        for one in self.symmetries:
            if one.turns % 2 and images.shape[-1] != images.shape[-2]:
                raise UsageError(
                    f"images of {tuple(images.shape[-2:])} rows and columns cannot be turned by 90 degrees; "
                    "leave turns out or prepare square images"
                )
            if flat and "slice" in one.flips:
                raise UsageError("single images have no slices to mirror; leave 'slice' out of the flips")
            output = activated(self.network(one.apply(images)), self.activation)
            yield one.undo(output) if output.ndim == images.ndim else output

    def forward(self, images: Tensor) -> Tensor:
        """Mean probabilities, (N, K) or (N, K, [D,] H, W)."""
        total: Tensor | None = None
        for answer in self.answers(images):
            total = answer if total is None else total.add_(answer)
        if total is None:
            raise UsageError("no symmetry gave an answer")
        return total / np.float32(len(self.symmetries)).item()
