"""Which voxels an answer of a network rests on: Grad-CAM, occlusion, integrated gradients.

All take images (N, C, [D,] H, W) and give one map for each, (N, [D,] H, W): positive where the image speaks
for the class, negative where it speaks against it. What is explained is the output before softmax. Look at
`voxlake.networks.saliency_check` before believing any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from voxlake.core.errors import UsageError
from voxlake.core.hints import hint
from voxlake.networks.grad_cam import grad_cam
from voxlake.networks.integrated_gradients import integrated_gradients
from voxlake.networks.occlusion import occlusion
from voxlake.networks.saliency_scores import scores

__all__ = [
    "METHODS",
    "Method",
    "grad_cam",
    "integrated_gradients",
    "method_named",
    "occlusion",
    "saliency",
    "scores",
]

Method = Literal["grad-cam", "occlusion", "integrated-gradients"]
METHODS: tuple[Method, ...] = ("grad-cam", "occlusion", "integrated-gradients")


def method_named(name: str) -> Method:
    """Find a method.

    Raises
    ------
    UsageError
        There is none of that name; the near miss is named.
    """
    for method in METHODS:
        if method == name:
            return method
    raise UsageError(f"saliency '{name}' is unknown{hint(name, METHODS)}; there are {', '.join(METHODS)}")


def saliency(
    method: Method, network: nn.Module, images: Tensor, targets: Sequence[int] | None = None, **settings: Any
) -> NDArray[np.float32]:
    """Maps by the method of a name; see the functions."""
    match method:
        case "grad-cam":
            return grad_cam(network, images, targets, **settings)
        case "occlusion":
            return occlusion(network, images, targets, **settings)
        case "integrated-gradients":
            return integrated_gradients(network, images, targets, **settings)
