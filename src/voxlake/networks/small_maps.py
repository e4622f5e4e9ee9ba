"""Convolutions of small maps, padded first: what oneDNN does about their padding is not right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["small_maps_padded"]

_MARK = "_voxlake_padding"
_Convolution = nn.Conv2d | nn.Conv3d


@contextmanager
def small_maps_padded(network: nn.Module) -> Iterator[None]:
    """Within it, maps that are smaller than the kernel of a convolution are padded before it, on processors.

    With padding of its own, torch 2.13 with oneDNN leaves part of the gradient of such a kernel unwritten in
    bfloat16 (3 x 3 x 3 on maps of two slices, 5 x 5 x 5 on maps of four); in float32, kernels of 5 and 7
    give wrong numbers now and then, or write beyond their memory. With zeros around the map the sums are the
    same, and the kernel fits.

    Parameters
    ----------
    network : torch.nn.Module
        Any; hooks are added to its convolutions, and taken away at the end.
    """
    handles = []
    for module in network.modules():
        if isinstance(module, _Convolution) and module.padding_mode == "zeros":
            handles.append(module.register_forward_pre_hook(_pad))
            handles.append(module.register_forward_hook(_restore, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _pad(module: _Convolution, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
    x: Tensor = given[0]
    extents = zip(x.shape[2:], module.kernel_size, module.dilation, strict=True)
    small = any(size <= apart * (wide - 1) for size, wide, apart in extents)
    if x.device.type != "cpu" or not small:
        return None
    sides = _sides(module)
    setattr(module, _MARK, module.padding)
    module.padding = (0,) * len(sides)
    return (functional.pad(x, [side for axis in reversed(sides) for side in axis]), *given[1:])


def _sides(module: _Convolution) -> list[tuple[int, int]]:
    """Zeros before and after the map along each axis."""
    if module.padding == "valid":
        return [(0, 0)] * len(module.kernel_size)
    if isinstance(module.padding, str):
        lost = [apart * (wide - 1) for wide, apart in zip(module.kernel_size, module.dilation, strict=True)]
        return [(each // 2, each - each // 2) for each in lost]
    return [(each, each) for each in module.padding]


def _restore(module: _Convolution, *_: object) -> None:
    if hasattr(module, _MARK):
        module.padding = getattr(module, _MARK)
        delattr(module, _MARK)
