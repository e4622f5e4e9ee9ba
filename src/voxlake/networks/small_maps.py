"""Convolutions of small maps in float32, where the rest of a network multiplies in bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

__all__ = ["small_maps_exact"]

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_MARK = "_voxlake_left_autocast"


@contextmanager
def small_maps_exact(network: nn.Module) -> Iterator[None]:
    """Within it, convolutions of maps that are smaller than their kernel are computed in float32.

    On processors, torch 2.13 with oneDNN leaves part of the gradient of such a kernel unwritten in bfloat16:
    of 3 x 3 x 3 on maps of two slices, of 5 x 5 x 5 on maps of four. They are the deepest and cost little.
    Only under autocast on a processor; otherwise nothing changes.

    Parameters
    ----------
    network : torch.nn.Module
        Any; hooks are added to its convolutions, and taken away at the end.
    """
    handles = []
    for module in network.modules():
        if isinstance(module, _CONVOLUTIONS):
            handles.append(module.register_forward_pre_hook(_leave))
            handles.append(module.register_forward_hook(_return, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _leave(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
    x = given[0]
    small = any(size < wide for size, wide in zip(x.shape[2:], module.kernel_size, strict=True))  # type: ignore[arg-type]  # of a convolution
    if x.device.type != "cpu" or not small or not torch.is_autocast_enabled("cpu"):
        return None
    torch.set_autocast_enabled("cpu", False)
    setattr(module, _MARK, True)
    return (x.float(), *given[1:])


def _return(module: nn.Module, *_: object) -> None:
    if getattr(module, _MARK, False):
        torch.set_autocast_enabled("cpu", True)
        delattr(module, _MARK)
