"""A MeshNet on a whole volume, layer by layer: exact, in the memory of two layers.

Dilated convolutions look far: of a tile with the margin that they need, most is margin. Here each layer is
computed in slabs that are as thick as it pleases, with the neighbours that this one layer looks at, so that
nothing is computed twice and nothing is approximated, instance normalisation included.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from voxlake.networks.inference_runtime import Precision, inference, precision_of
from voxlake.networks.meshnet_module import EPSILON, MeshNet

__all__ = ["whole_labels", "whole_logits"]

_LAST = torch.channels_last_3d


def whole_labels(
    network: MeshNet, values: NDArray[np.float32], *, slab: int = 32, precision: Precision = "auto"
) -> NDArray[np.uint8]:
    """The class of every voxel.

    Parameters
    ----------
    network : MeshNet
        At most 256 classes; left as it is.
    values : ndarray of float32
        (slices, rows, columns), scaled as the network expects.
    slab : int
        Slices that are computed at a time; changes the memory, not the result.
    precision : {"auto", "float32"}
        ``"auto"`` computes in bfloat16 where the processor has it.

    Returns
    -------
    ndarray of uint8
        (slices, rows, columns); where classes are level, the first of them.
    """
    labels = np.empty(values.shape, dtype=np.uint8)
    with inference():
        hidden = _hidden(network, values, slab, precision_of(precision))
        for start in range(0, values.shape[0], slab):
            logits = _head(network, hidden[:, :, start : start + slab])
            labels[start : start + slab] = logits.max(dim=0).indices.to(torch.uint8).numpy()
    return labels


def whole_logits(
    network: MeshNet, values: NDArray[np.float32], *, slab: int = 32, precision: Precision = "auto"
) -> NDArray[np.float32]:
    """Outputs of the network, (classes, slices, rows, columns); see `whole_labels`."""
    with inference():
        hidden = _hidden(network, values, slab, precision_of(precision))
        parts = torch.split(hidden, slab, dim=2)
        logits = torch.cat([_head(network, part).float() for part in parts], dim=1)
    found: NDArray[np.float32] = logits.numpy()
    return found


def _hidden(network: MeshNet, values: NDArray[np.float32], slab: int, dtype: torch.dtype) -> Tensor:
    x = torch.from_numpy(np.ascontiguousarray(values))[None, None].to(dtype)
    for layer in network.convolutions:
        x = _layer(network, layer, x, slab)
    return x


def _layer(network: MeshNet, layer: nn.Conv3d, x: Tensor, slab: int) -> Tensor:
    """A hidden layer with what comes after it, (1, C, D, H, W) to (1, C', D, H, W), channels last."""
    depth, dilation = x.shape[2], layer.dilation[0]
    weight = layer.weight.to(x.dtype).to(memory_format=_LAST)
    bias = None if layer.bias is None else layer.bias.to(x.dtype)
    normalised = network.settings.normalisation == "instance"
    out = torch.empty((1, weight.shape[0], *x.shape[2:]), dtype=x.dtype, memory_format=_LAST)
    sums = torch.zeros((2, weight.shape[0]), dtype=torch.float64)
    for start in range(0, depth, slab):
        stop = min(depth, start + slab)
        low, high = max(0, start - dilation), min(depth, stop + dilation)
        part = x[:, :, low:high]
        outside = (low - start + dilation, stop + dilation - high)
        if any(outside):
            part = functional.pad(part, (0, 0, 0, 0, *outside))
        part = part.contiguous(memory_format=_LAST)
        done = functional.conv3d(part, weight, bias, padding=(0, dilation, dilation), dilation=dilation)
        if normalised:
            sums += _sums(done)
            out[:, :, start:stop] = done
        else:
            out[:, :, start:stop] = network.activate(done)
    return _normalised(network, out, sums, slab) if normalised else out


def _sums(x: Tensor) -> Tensor:
    """Sum and sum of squares of each channel: added over slices in float64."""
    slices = x.permute(0, 2, 3, 4, 1).reshape(x.shape[2], -1, x.shape[1]).float()
    # A product with ones adds up many times as fast as a sum along an axis that is not the last one.
    ones = torch.ones((1, slices.shape[1]))
    return torch.stack([(ones @ each).double().sum(dim=(0, 1)) for each in (slices, slices.square())])


def _normalised(network: MeshNet, x: Tensor, sums: Tensor, slab: int) -> Tensor:
    mean, square = sums / x[0, 0].numel()
    scale = (square - mean.square()).clamp_min(0).add(EPSILON).rsqrt()
    shape = (1, -1, 1, 1, 1)
    factor, offset = scale.to(x.dtype).view(shape), (-mean * scale).to(x.dtype).view(shape)
    for part in torch.split(x, slab, dim=2):
        part.copy_(network.activate(torch.addcmul(offset, part, factor)))
    return x


def _head(network: MeshNet, hidden: Tensor) -> Tensor:
    """The last layer, (1, C, D, H, W) to (classes, D, H, W)."""
    head = network.head
    voxels = hidden[0].permute(1, 2, 3, 0).reshape(-1, hidden.shape[1])
    logits = head.weight.reshape(head.out_channels, -1).to(hidden.dtype) @ voxels.t()
    if head.bias is not None:
        logits += head.bias.to(hidden.dtype)[:, None]
    return logits.view(head.out_channels, *hidden.shape[2:])
