"""MeshNet: a row of dilated convolutions at full resolution, after which every voxel gets a class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt

from voxlake.core.settings import Settings

if TYPE_CHECKING:
    from voxlake.networks.meshnet_module import MeshNet

__all__ = ["MeshNetSettings", "build_meshnet"]


class MeshNetSettings(Settings):
    """Settings of a MeshNet (Fedorov et al., 2017, doi:10.1109/IJCNN.2017.7966333).

    Parameters
    ----------
    channels : int
        Channels of every hidden layer.
    classes : int
        Channels of the output, background included.
    dilations : tuple of int
        Dilation of each hidden layer; kernels are 3 x 3 x 3.
    activation : {"relu", "elu", "gelu"}
        After each hidden layer; ``"gelu"`` is the exact one, with the error function.
    normalisation : {"none", "instance"}
        ``"instance"`` brings each channel to mean 0 and variance 1 over the whole volume, before the
        activation; the convolutions have no bias then.
    """

    channels: PositiveInt
    classes: Annotated[int, Field(ge=2)]
    dilations: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    activation: Literal["relu", "elu", "gelu"] = "relu"
    normalisation: Literal["none", "instance"] = "none"

    @property
    def radius(self) -> int:
        """How far, in voxels along an axis, what the network says of a voxel depends on others.

        With instance normalisation it depends on all of them, however far.
        """
        return sum(self.dilations)


def build_meshnet(settings: MeshNetSettings) -> MeshNet:
    """Build the network, weights as torch draws them; maps (N, 1, D, H, W) to (N, classes, D, H, W)."""
    # torch is an extra, and slow to load: settings can be read and checked without it
    from voxlake.networks.meshnet_module import MeshNet

    return MeshNet(settings)
