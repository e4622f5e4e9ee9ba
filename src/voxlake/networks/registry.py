"""Networks by name: where settings meet modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from voxlake.core.errors import SettingsError
from voxlake.core.hints import hint
from voxlake.core.settings import Settings
from voxlake.networks.attention_unet import AttentionUNetSettings, build_attention_unet
from voxlake.networks.autoencoder import AutoencoderSettings, build_autoencoder
from voxlake.networks.cnn import CNNSettings, build_cnn
from voxlake.networks.committee import CommitteeSettings, build_committee
from voxlake.networks.convnext import ConvNeXtSettings, build_convnext
from voxlake.networks.densenet import DenseNetSettings, build_densenet
from voxlake.networks.efficientnet import EfficientNetSettings, build_efficientnet
from voxlake.networks.fusion import FusionSettings, build_fusion
from voxlake.networks.masked_autoencoder import MaskedAutoencoderSettings, build_masked_autoencoder
from voxlake.networks.mlp import MLPSettings, build_mlp
from voxlake.networks.recurrent import RecurrentSettings, build_recurrent
from voxlake.networks.resnet import ResNetSettings, build_resnet
from voxlake.networks.slices import SlicesSettings, build_slices
from voxlake.networks.unet import UNetSettings, build_unet
from voxlake.networks.variational import VariationalSettings, build_variational
from voxlake.networks.vit import ViTSettings, build_vit

if TYPE_CHECKING:
    from torch import nn

__all__ = ["NETWORKS", "Gives", "Network", "Takes", "build", "get_network", "read_settings"]

Takes = Literal["image", "sequence", "table", "image and table"]
Gives = Literal["vector", "map", "reconstruction"]


@dataclass(frozen=True)
class Network:
    """One kind of network.

    Parameters
    ----------
    settings : type
        Class of its settings.
    build : callable
        ``build(settings, *, in_channels, outputs, shape) -> torch.nn.Module``.
    takes : {"image", "sequence", "table", "image and table"}
        What the module is called with: images or volumes (N, C, [D,] H, W); sequences
        (N, T, C, [D,] H, W) or (N, T, F) and their lengths, int64 (N,); tables (N, F); images and a table.
    gives : {"vector", "map", "reconstruction"}
        What it returns: (N, K); (N, K, [D,] H, W), the extent of the input; or a `Reconstruction`.
    """

    settings: type[Settings]
    build: Callable[..., nn.Module]
    takes: Takes = "image"
    gives: Gives = "vector"


NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        "attention_unet": Network(AttentionUNetSettings, build_attention_unet, gives="map"),
        "autoencoder": Network(AutoencoderSettings, build_autoencoder, gives="reconstruction"),
        "cnn": Network(CNNSettings, build_cnn),
        "committee": Network(CommitteeSettings, build_committee),
        "convnext": Network(ConvNeXtSettings, build_convnext),
        "densenet": Network(DenseNetSettings, build_densenet),
        "efficientnet": Network(EfficientNetSettings, build_efficientnet),
        "fusion": Network(FusionSettings, build_fusion, takes="image and table"),
        "masked_autoencoder": Network(
            MaskedAutoencoderSettings, build_masked_autoencoder, gives="reconstruction"
        ),
        "mlp": Network(MLPSettings, build_mlp, takes="table"),
        "recurrent": Network(RecurrentSettings, build_recurrent, takes="sequence"),
        "resnet": Network(ResNetSettings, build_resnet),
        "slices": Network(SlicesSettings, build_slices, takes="sequence"),
        "unet": Network(UNetSettings, build_unet, gives="map"),
        "variational": Network(VariationalSettings, build_variational, gives="reconstruction"),
        "vit": Network(ViTSettings, build_vit),
    }
)


def read_settings(name: str, values: Mapping[str, Any], *, where: str = "network") -> Settings:
    """Read the settings of a network by name.

    Raises
    ------
    SettingsError
        No such network, or settings that do not fit it; the near miss is named.
    """
    return get_network(name, where).settings.read(values, where=f"{where} ({name})")


def build(
    name: str, settings: Settings, *, in_channels: int, outputs: int, shape: Sequence[int], seed: int
) -> nn.Module:
    """Build a network with weights drawn from a seed; the global random state stays as it was.

    Parameters
    ----------
    name : str
        One of `NETWORKS`.
    settings : Settings
        Of the class that belongs to the name.
    in_channels : int
        Channels of the input, C; columns F of a table or of a sequence of vectors.
    outputs : int
        Number of outputs, K.
    shape : sequence of int
        Extent of the input without N and C: (H, W) or (D, H, W); (T, [D,] H, W) for a sequence of images and
        (T,) for one of vectors; (F,) for a table; that of the image for an image and a table.
    seed : int
        Of the initial weights.

    Returns
    -------
    torch.nn.Module
        Maps float32 inputs to float32 outputs, as `Network` says of what it takes and gives.

    Raises
    ------
    SettingsError
        No such network, settings of another one, or a shape that does not fit.
    """
    # torch is an extra, and slow to load: settings can be read and checked without it
    import torch

    network = get_network(name)
    if not isinstance(settings, network.settings):
        raise SettingsError(
            f"network '{name}' takes {network.settings.__name__}, got {type(settings).__name__}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return network.build(settings, in_channels=in_channels, outputs=outputs, shape=tuple(shape))


def get_network(name: str, where: str = "network") -> Network:
    """A kind of network by name.

    Raises
    ------
    SettingsError
        There is none of that name; the near miss is named.
    """
    if name not in NETWORKS:
        raise SettingsError(f"{where}: unknown network '{name}'{hint(name, NETWORKS)}")
    return NETWORKS[name]
