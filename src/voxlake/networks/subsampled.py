"""Strided convolutions of 1 x 1, which oneDNN computes wrongly for few channels that lie last.

Its gradient of the weights writes beyond its memory then (oneDNN issue 6035, torch 2.13: two dimensions, a
stride, fewer input channels than a vector is wide, channels last): weights are wrong, or the process dies,
now or much later.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["SubsampledConv2d", "overruns", "subsample_first"]

# Channels that the widest vectors of a CPU hold, in float32.
_VECTOR = 16
Net = TypeVar("Net", bound=nn.Module)


class SubsampledConv2d(nn.Conv2d):
    """A strided convolution of 1 x 1 without padding: first the places it looks at, then the convolution."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K, H', W')."""
        rows, columns = self.stride
        places = x[..., ::rows, ::columns]
        return functional.conv2d(places, self.weight, self.bias, groups=self.groups)


def overruns(part: nn.Module) -> bool:
    """Whether the gradient of a module with channels last would write beyond its memory."""
    return (
        isinstance(part, nn.Conv2d)
        and not isinstance(part, SubsampledConv2d)
        and part.kernel_size == (1, 1)
        and part.stride != (1, 1)
        and part.in_channels // part.groups < _VECTOR
    )


def subsample_first(network: Net) -> Net:
    """Replace such convolutions, in place and with the same parameters; what they give stays the same."""
    for parent in list(network.modules()):
        for name, part in list(parent.named_children()):
            if isinstance(part, nn.Conv2d) and overruns(part) and part.padding == (0, 0):
                setattr(parent, name, _subsampled(part))
    return network


def _subsampled(part: nn.Conv2d) -> SubsampledConv2d:
    rows, columns = part.stride
    bias = part.bias is not None
    # Without drawing numbers: weights that follow must be those of the seed.
    with torch.device("meta"):
        other = SubsampledConv2d(
            part.in_channels, part.out_channels, 1, (rows, columns), groups=part.groups, bias=bias
        )
    other.weight, other.bias = part.weight, part.bias
    return other
