"""What networks give that reconstruct their input."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Reconstruction"]


class Reconstruction(NamedTuple):
    """An image as a network gives it back.

    Parameters
    ----------
    values : torch.Tensor
        (N, C, [D,] H, W), as the input.
    penalty : torch.Tensor
        0-d float32: what the network asks to be added to the mean error over all pixels; 0 if nothing.
    weights : torch.Tensor or None
        (N, 1, [D,] H, W): where the error counts, 1, and where not, 0; None if everywhere.
    """

    values: Tensor
    penalty: Tensor
    weights: Tensor | None
