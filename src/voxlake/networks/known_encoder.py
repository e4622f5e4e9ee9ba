"""What is known of a network that others trained on pictures, and that turns an image into a vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from voxlake.core.digest import digest_json
from voxlake.networks.efficientnet import EfficientNetSettings

__all__ = ["KnownEncoder"]


@dataclass(frozen=True)
class KnownEncoder:
    """An entry of the registry of pre-trained encoders.

    Parameters
    ----------
    name : str
        As commands and tables of embeddings name it.
    summary : str
        What it is, one line.
    source : str
        Where the weights were published.
    package : str
        Python package that holds the file of weights.
    licence : str
        SPDX identifier of the licence of the file.
    sha256 : str
        Of the file of weights as its makers published it.
    size : int
        Of that file, in bytes.
    network : EfficientNetSettings
        What it is built of.
    classes : int
        Outputs that it was trained with.
    """

    name: str
    summary: str
    source: str
    package: str
    licence: str
    sha256: str
    size: int
    network: EfficientNetSettings
    classes: int = 1000

    @property
    def model_id(self) -> str:
        """Identifier in a lake: the same network with the same weights has the same one everywhere."""
        return digest_json(self.facts())[:24]

    @property
    def coordinates(self) -> int:
        """Length of its vectors: mean, largest value and deviation of each channel of each stage."""
        return 3 * sum(self.network.widths)

    def facts(self) -> Mapping[str, Any]:
        """What determines the result."""
        return {"sha256": self.sha256, "network": self.network.model_dump(mode="json")}
