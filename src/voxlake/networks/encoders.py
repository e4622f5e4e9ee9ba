"""Networks of images inside other networks: chosen by name, giving features instead of answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from voxlake.core.errors import SettingsError

if TYPE_CHECKING:
    from torch import nn

    from voxlake.core.settings import Settings
    from voxlake.networks.registry import Network

__all__ = ["build_encoder", "read_encoder"]


def read_encoder(table: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the settings of an encoder.

    Parameters
    ----------
    table : mapping
        ``name`` of a network that takes images and gives vectors, and its settings.

    Returns
    -------
    dict
        The same with all defaults.

    Raises
    ------
    SettingsError
        No such network, one that takes or gives something else, or settings that do not fit it.
    """
    _, settings = _read(table)
    return {"name": table["name"], **settings.model_dump(mode="json")}


def build_encoder(
    table: Mapping[str, Any], *, in_channels: int, features: int, shape: Sequence[int]
) -> nn.Module:
    """Build an encoder: maps (N, C, [D,] H, W) to (N, features).

    Parameters
    ----------
    table : mapping
        As `read_encoder` takes and returns it.
    in_channels : int
        Channels of the images, C.
    features : int
        Values for each image.
    shape : sequence of int
        Extent of the images: (H, W) or (D, H, W).

    Raises
    ------
    SettingsError
        As `read_encoder`, or a shape that does not fit the network.
    """
    network, settings = _read(table)
    return network.build(settings, in_channels=in_channels, outputs=features, shape=tuple(shape))


def _read(table: Mapping[str, Any]) -> tuple[Network, Settings]:
    # the registry names the networks that have encoders, and so cannot be loaded before them
    from voxlake.networks.registry import get_network

    values = dict(table)
    name = values.pop("name", None)
    if not isinstance(name, str):
        raise SettingsError("encoder: missing key 'name', for example name = \"cnn\"")
    network = get_network(name, "encoder")
    if (network.takes, network.gives) != ("image", "vector"):
        raise SettingsError(
            f"encoder: network '{name}' takes {network.takes} and gives {network.gives}, "
            "an encoder has to take image and give vector"
        )
    return network, network.settings.read(values, where=f"encoder ({name})")
