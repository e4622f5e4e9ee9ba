"""Occlusion: what an answer loses when a part of the image is covered."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from voxlake.core.errors import UsageError
from voxlake.networks.saliency_scores import as_maps, evaluating, scores

__all__ = ["occlusion"]


def occlusion(
    network: nn.Module,
    images: Tensor,
    targets: Sequence[int] | None = None,
    *,
    patch: int | Sequence[int] = 8,
    stride: int | Sequence[int] | None = None,
    value: float | Literal["mean"] = "mean",
    batch_size: int = 64,
) -> NDArray[np.float32]:
    """Occlusion: how much the answer loses when a patch is covered.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode; left as it is.
    images : torch.Tensor
        float32 (N, C, [D,] H, W).
    targets : sequence of int, optional
        See `scores`.
    patch, stride : int or sequence of int
        Extent of the patch in voxels, and steps between patches, along each axis of the image; the stride is
        half a patch if absent. The last patch ends with the image.
    value : float or "mean"
        What the patch is covered with; ``"mean"`` is that of each channel of each image.
    batch_size : int
        Covered images at a time.

    Returns
    -------
    ndarray of float32
        (N, [D,] H, W); where patches overlap, the mean of what they say.

    References
    ----------
    Zeiler and Fergus, 2014, doi:10.1007/978-3-319-10590-1_53.
    """
    extent = tuple(images.shape[2:])
    size = tuple(min(a, b) for a, b in zip(_each(patch, extent), extent, strict=True))
    step = tuple(max(1, side // 2) for side in size) if stride is None else _each(stride, extent)
    corners = list(product(*(_starts(*each) for each in zip(extent, size, step, strict=True))))
    boxes = [tuple(slice(at, at + side) for at, side in zip(corner, size, strict=True)) for corner in corners]
    lost = torch.zeros((len(images), *extent))
    counts = torch.zeros(extent)
    for box in boxes:
        counts[box] += 1
    with evaluating(network), torch.inference_mode():
        before, chosen = scores(network(images), targets)
        for number, image in enumerate(images):
            cover = (
                image.flatten(1).mean(dim=1) if value == "mean" else image.new_full(image.shape[:1], value)
            )
            for start in range(0, len(boxes), batch_size):
                part = boxes[start : start + batch_size]
                covered = image.repeat(len(part), *(1,) * image.ndim)
                for one, box in zip(covered, part, strict=True):
                    one[(slice(None), *box)] = cover.view(-1, *(1,) * len(extent))
                after, _ = scores(network(covered), [chosen[number]] * len(part))
                for box, drop in zip(part, (before[number] - after).tolist(), strict=True):
                    lost[number][box] += drop
    return as_maps(lost / counts)


def _each(value: int | Sequence[int], extent: tuple[int, ...]) -> tuple[int, ...]:
    sides = (value,) * len(extent) if isinstance(value, int) else tuple(value)
    if len(sides) != len(extent) or min(sides) < 1:
        raise UsageError(
            f"patches and strides of images of {extent} need {len(extent)} positive numbers, got {value}"
        )
    return sides


def _starts(extent: int, size: int, step: int) -> list[int]:
    return [*range(0, extent - size, step), extent - size]
