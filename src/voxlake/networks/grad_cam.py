"""Grad-CAM: which feature maps of a layer an answer rests on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from voxlake.core.errors import UsageError
from voxlake.networks.committee_module import Committee
from voxlake.networks.saliency_scores import as_maps, evaluating, scores

__all__ = ["grad_cam"]

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)


def grad_cam(
    network: nn.Module, images: Tensor, targets: Sequence[int] | None = None, *, layer: str | None = None
) -> NDArray[np.float32]:
    """Grad-CAM: feature maps of a layer, weighted by the mean gradient of the answer, where positive.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode; left as it is.
    images : torch.Tensor
        float32 (N, C, [D,] H, W).
    targets : sequence of int, optional
        See `scores`.
    layer : str, optional
        Name of the layer, as `named_modules` has it; the last convolution that looks at neighbours if
        absent, of a committee that of each member, and the mean of their maps.

    Returns
    -------
    ndarray of float32
        (N, [D,] H, W), not negative, brought to the extent of the image by linear interpolation.

    Raises
    ------
    UsageError
        There is no such layer, it gives no maps, or the answer does not depend on it.

    References
    ----------
    Selvaraju et al., 2017, doi:10.1109/ICCV.2017.74.
    """
    if isinstance(network, Committee) and layer is None:
        return _of_members(network, images, targets)
    with evaluating(network), torch.enable_grad():
        watched = _layers(network, layer)
        kept: list[tuple[str, Tensor]] = []
        handles = [module.register_forward_hook(_keeper(kept, name)) for name, module in watched.items()]
        try:
            output = network(images.detach().clone().requires_grad_())
        finally:
            for handle in handles:
                handle.remove()
        if not kept:
            raise UsageError("the layer does not take part in the answer; name another one")
        name, features = kept[-1]
        if features.ndim != images.ndim:
            raise UsageError(
                f"layer '{name}' gives {tuple(features.shape)}, no feature maps; name another one"
            )
        score, _ = scores(output, targets)
        (gradient,) = torch.autograd.grad(score.sum(), features, allow_unused=True)
        if gradient is None:
            raise UsageError(f"the answer does not depend on layer '{name}'; name another one")
    space = tuple(range(2, images.ndim))
    weights = gradient.mean(dim=space, keepdim=True)
    maps = torch.relu((weights * features).sum(dim=1, keepdim=True)).detach()
    mode = "bilinear" if images.ndim == 4 else "trilinear"
    grown = functional.interpolate(maps.float(), size=images.shape[2:], mode=mode, align_corners=False)
    return as_maps(grown[:, 0])


def _of_members(network: Committee, images: Tensor, targets: Sequence[int] | None) -> NDArray[np.float32]:
    """The answer is the mean over the members, and so is what it rests on."""
    with evaluating(network), torch.inference_mode():
        _, chosen = scores(network(images), targets)
    maps = [grad_cam(member, images, chosen) for member in network.members]
    return np.asarray(np.mean(maps, axis=0, dtype=np.float32))


def _layers(network: nn.Module, name: str | None) -> dict[str, nn.Module]:
    """The layers whose output may be the one that is wanted: the last that runs is taken."""
    modules = dict(network.named_modules())
    if name is not None:
        if name not in modules:
            raise UsageError(f"the network has no layer '{name}'; see named_modules()")
        return {name: modules[name]}
    found: dict[str, nn.Conv2d | nn.Conv3d] = {
        key: module for key, module in modules.items() if isinstance(module, _CONVOLUTIONS)
    }
    if not found:
        raise UsageError(
            "the network has no convolution, which Grad-CAM looks at: name a layer or take another method"
        )
    # A shortcut of single voxels beside the body of a residual block runs last, but is not all of the block.
    wide = {key: module for key, module in found.items() if max(module.kernel_size) > 1}
    return dict(wide or found)


def _keeper(kept: list[tuple[str, Tensor]], name: str) -> Any:
    def keep(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:  # noqa: ARG001 - torch calls it so
        kept.append((name, output))
        # What follows may work in place, and would change what was kept.
        return output.clone()

    return keep
