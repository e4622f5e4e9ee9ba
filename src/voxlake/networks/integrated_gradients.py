"""Integrated gradients: what an answer gained on the way from a baseline to the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from voxlake.core.errors import UsageError
from voxlake.networks.saliency_scores import as_maps, evaluating, scores

__all__ = ["integrated_gradients"]


def integrated_gradients(
    network: nn.Module,
    images: Tensor,
    targets: Sequence[int] | None = None,
    *,
    baseline: float | Tensor = 0.0,
    steps: int = 32,
    batch_size: int = 32,
) -> NDArray[np.float32]:
    """Integrated gradients: the gradient along the straight way from a baseline to the image.

    The sum over a map is the answer to the image less that to the baseline ("completeness"), up to the error
    of the integral, which more steps make smaller.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode; left as it is.
    images : torch.Tensor
        float32 (N, C, [D,] H, W).
    targets : sequence of int, optional
        See `scores`.
    baseline : float or torch.Tensor
        Where the way begins: a value, or an image that can be broadcast to `images`.
    steps : int
        Points of a Gauss-Legendre quadrature.
    batch_size : int
        Points at a time.

    Returns
    -------
    ndarray of float32
        (N, [D,] H, W), summed over channels.

    References
    ----------
    Sundararajan, Taly and Yan, 2017, arXiv:1703.01365.
    """
    if steps < 1:
        raise UsageError(f"integrated gradients need at least one step, got {steps}")
    places, widths = np.polynomial.legendre.leggauss(steps)
    along = torch.from_numpy((places + 1) / 2).float()
    weights = torch.from_numpy(widths / 2).float()
    begin = torch.as_tensor(baseline, dtype=images.dtype, device=images.device).expand_as(images)
    maps = []
    with evaluating(network):
        with torch.inference_mode():
            _, chosen = scores(network(images), targets)
        for image, origin, target in zip(images.detach(), begin, chosen, strict=True):
            total = torch.zeros_like(image)
            for part, weight in zip(
                torch.split(along, batch_size), torch.split(weights, batch_size), strict=True
            ):
                shape = (-1, *(1,) * image.ndim)
                at = part.to(image).view(shape)
                gradient = _gradient(network, origin + at * (image - origin), target)
                total += (gradient * weight.to(image).view(shape)).sum(dim=0)
            maps.append((total * (image - origin)).sum(dim=0))
    return as_maps(torch.stack(maps))


def _gradient(network: nn.Module, points: Tensor, target: int) -> Tensor:
    with torch.enable_grad():
        leaf = points.detach().clone().requires_grad_()
        score, _ = scores(network(leaf), [target] * len(leaf))
        (found,) = torch.autograd.grad(score.sum(), leaf)
    return found
