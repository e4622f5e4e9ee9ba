"""What is known of a network that others trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from voxlake.core.digest import digest_json
from voxlake.core.volume import Label
from voxlake.networks.meshnet import MeshNetSettings
from voxlake.networks.scaling import Scaling

__all__ = ["KnownModel"]


@dataclass(frozen=True)
class KnownModel:
    """An entry of the registry of pre-trained networks.

    Parameters
    ----------
    name : str
        As plans and commands name it.
    summary : str
        What it does, one line.
    source : str
        Where the files are from: repository and commit.
    folder : str
        Where they lie in that repository.
    licence : str
        SPDX identifier of the licence of the files.
    sha256 : str
        Of the file of weights as its makers published it.
    size : int
        Of that file, in bytes.
    network : MeshNetSettings
        What it is built of.
    labels : tuple of Label
        Meaning of the classes above 0, the background.
    plan : str
        TOML of the plan that its input must come from.
    scaling : str
        What is done to the values after that plan, see `voxlake.networks.scaling.scaled`.
    modality : str
        Modality (0008,0060) on which it was trained.
    """

    name: str
    summary: str
    source: str
    folder: str
    licence: str
    sha256: str
    size: int
    network: MeshNetSettings
    labels: tuple[Label, ...]
    plan: str
    scaling: Scaling
    modality: str = "MR"

    @property
    def model_id(self) -> str:
        """Identifier in a lake: the same network, plan and scaling have the same one everywhere."""
        return digest_json({**self.facts(), "labels": [label.name for label in self.labels]})[:24]

    def facts(self) -> Mapping[str, Any]:
        """What determines the result."""
        return {
            "sha256": self.sha256,
            "network": self.network.model_dump(mode="json"),
            "plan": self.plan,
            "scaling": self.scaling,
        }
