"""Instance normalisation that is fast with channels last."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

__all__ = ["InstanceNorm"]

_EPSILON = 1e-5


class InstanceNorm(nn.Module):
    """Bring each channel of each image to mean 0 and variance 1, then scale and shift it.

    Ulyanov et al., 2016, arXiv:1607.08022. The module of torch brings maps with channels last into the other
    order, and back for the next convolution; its group normalisation with a group for each channel does not,
    but has a slow gradient then. Forward and backward through 2 x 16 x 40^3 with channels last, one thread:
    12 ms here, 37 ms group normalisation, about 30 ms the module of torch.

    Parameters
    ----------
    width : int
        Channels, C.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, [D,] H, W) to the same."""
        learns = self.training and torch.is_grad_enabled()
        if learns and x.device.type == "cpu" and x.dtype in (self.weight.dtype, torch.bfloat16):
            result: Tensor = _PerImage.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]  # torch's
            return result
        # without its gradient the kernel of group normalisation is as fast, and all exporters know it
        return functional.group_norm(x, len(self.weight), self.weight, self.bias, _EPSILON)


class _PerImage(torch.autograd.Function):
    """Batch normalisation of each image alone, whose kernels take channels last as they lie."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x = x.contiguous(memory_format=_layout(x))
        result = torch.empty_like(x)
        means, roots = (weight.new_empty((len(x), len(weight))) for _ in range(2))
        for number in range(len(x)):
            one = slice(number, number + 1)
            torch.native_batch_norm(
                x[one],
                weight,
                bias,
                None,
                None,
                True,
                0.0,
                _EPSILON,
                out=(result[one], means[number], roots[number]),
            )
        ctx.save_for_backward(x, weight, means, roots)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight, means, roots = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=_layout(x))
        result = torch.empty_like(x)
        of_weight, of_bias = torch.empty_like(means), torch.empty_like(means)
        for number in range(len(x)):
            one = slice(number, number + 1)
            torch.ops.aten.native_batch_norm_backward.out(
                gradient[one],
                x[one],
                weight,
                None,
                None,
                means[number],
                roots[number],
                True,
                _EPSILON,
                [True, True, True],
                out0=result[one],
                out1=of_weight[number],
                out2=of_bias[number],
            )
        return result, of_weight.sum(0), of_bias.sum(0)


def _layout(x: Tensor) -> torch.memory_format:
    last = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
    return last if x.is_contiguous(memory_format=last) else torch.contiguous_format
