"""What the bridges of an attention U-Net pass through."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from voxlake.networks.blocks import PatchConvolution
from voxlake.networks.units import Pointwise, crop

__all__ = ["AttentionGate"]


class AttentionGate(nn.Module):
    """Multiply each place of a bridge by a number between 0 and 1 (Oktay et al., 2018, arXiv:1804.03999).

    ``sigmoid(psi(relu(theta(bridge) + phi(signal))))``, computed at the resolution of the coarser stage and
    interpolated linearly.

    Parameters
    ----------
    width : int
        Channels of the bridge.
    coarse : int
        Channels of the signal from the coarser stage.
    stride : tuple of int
        Factor between the two along each axis.
    """

    def __init__(self, width: int, coarse: int, stride: tuple[int, ...]) -> None:
        super().__init__()
        inner = max(width // 2, 1)
        self.theta = PatchConvolution(len(stride), width, inner, stride)
        self.phi = Pointwise(coarse, inner)
        self.psi = Pointwise(inner, 1)

    def forward(self, bridge: Tensor, signal: Tensor) -> Tensor:
        """(N, width, ...) and (N, coarse, ...) to (N, width, ...)."""
        return bridge * self.attention(bridge, signal)

    def attention(self, bridge: Tensor, signal: Tensor) -> Tensor:
        """What the bridge is multiplied by, (N, 1, ...), the extent of the bridge."""
        coarse = self.psi(functional.relu(self.theta(bridge) + self.phi(signal))).sigmoid()
        whole = [extent * step for extent, step in zip(coarse.shape[2:], self.theta.stride, strict=True)]
        mode = "bilinear" if len(whole) == 2 else "trilinear"
        return crop(functional.interpolate(coarse, size=whole, mode=mode), bridge.shape[2:])
