"""The method ``pretrained`` of a mask plan: a network of the registry segments a volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import Field, PositiveInt, PrivateAttr, field_validator, model_validator

from voxlake.core.errors import ItemError, NotFoundError, UsageError
from voxlake.core.mask_grid import carry_back
from voxlake.core.mask_plan import MaskPlan
from voxlake.core.mask_step import MaskStep
from voxlake.core.volume import Mask, Volume
from voxlake.networks.pretrained import known_model
from voxlake.networks.scaling import scaled
from voxlake.processing.registry import load_plan
from voxlake.store.objects import Objects
from voxlake.volumes.pretrained_models import stored_network

if TYPE_CHECKING:
    from voxlake.networks.meshnet_module import MeshNet

__all__ = ["PRETRAINED_METHODS", "Pretrained", "with_network"]

Share = Annotated[float, Field(ge=0, lt=1)]


class Pretrained(MaskStep):
    """Segment with a network that others trained (`voxlake models list`).

    The volume is first brought to what the network was trained on, by the plan of its entry in the registry:
    orientation, 1 mm, 256 cubed, scaling of the values. The mask is carried back to the grid of the volume by
    nearest neighbour. Weights come from the lake; see `with_network`.

    Parameters
    ----------
    model : str
        Name of the network.
    weights : str
        SHA-256 of the weights as their makers published them. Filled in; a plan that names others is refused.
    tile : three int, optional
        Voxels of a tile, in the orientation of the network. Without it the whole volume goes through the
        network layer by layer, which is exact; tiles of less than the volume take less memory and are close.
    overlap : float
        Share of a tile that it has in common with the next one.

    References
    ----------
    Masoud et al., 2023, doi:10.21105/joss.05098 (the networks); Fedorov et al., 2017,
    doi:10.1109/IJCNN.2017.7966333 (MeshNet).
    """

    name: ClassVar[str] = "pretrained"
    version: ClassVar[int] = 1

    model: str
    weights: str = ""
    tile: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    overlap: Share = 0.5

    _network: MeshNet | None = PrivateAttr(default=None)

    @field_validator("model")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            return known_model(name).name
        except NotFoundError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="before")
    @classmethod
    def _with_digest(cls, values: Any) -> Any:
        # What names the rows that a mask plan makes must name the weights too.
        name = values.get("model") if isinstance(values, Mapping) else None
        if not isinstance(name, str) or values.get("weights"):
            return values
        try:
            return {**values, "weights": known_model(name).sha256}
        except NotFoundError:
            # The field says what is wrong.
            return values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = known_model(self.model)
        if self.weights != known.sha256:
            raise ValueError(f"'{self.model}' has weights with SHA-256 {known.sha256}; leave 'weights' out")
        if self.tile is not None and known.network.normalisation == "instance":
            raise ValueError(f"'{self.model}' normalises over the whole volume: leave 'tile' out")
        return self

    def with_network(self, objects: Objects) -> Self:
        """The same step with its network, from the weights that a lake holds.

        Raises
        ------
        NotFoundError
            The network was not imported.
        """
        loaded = self.model_copy()
        loaded._network = stored_network(objects, self.model)  # noqa: SLF001 - a copy of its own kind
        return loaded

    def __call__(self, volume: Volume) -> Mask:
        """Segment the volume; the input is not changed."""
        if self._network is None:
            raise UsageError(f"the network '{self.model}' has no weights yet: call with_network first")
        if volume.grid.flat or volume.channels != 1:
            raise ItemError(
                "step_failed", f"{self.name}: '{self.model}' takes scalar volumes, no flat images"
            )
        known = known_model(self.model)
        conformed = load_plan(known.plan)(volume)
        labels = self._labels(self._network, scaled(conformed.numpy(), known.scaling))
        lineage = conformed.lineage.then(f"{self.tag}: {self.model}")
        return carry_back(Mask(labels, conformed.grid, known.labels, lineage), volume.grid)

    def _labels(
        self, network: MeshNet, values: np.ndarray[Any, np.dtype[np.float32]]
    ) -> np.ndarray[Any, Any]:
        # torch is slow to load, and reading a plan does not need it
        from voxlake.networks.tiled import Tiling, tiled_labels
        from voxlake.networks.whole import whole_labels

        if self.tile is None:
            return whole_labels(network, values)
        return tiled_labels(network, values, Tiling(tile=self.tile, overlap=self.overlap))


PRETRAINED_METHODS: Mapping[str, type[MaskStep]] = MappingProxyType({Pretrained.name: Pretrained})
"""What this room adds to the methods of a mask plan."""


def with_network(plan: MaskPlan, objects: Objects) -> MaskPlan:
    """Give a mask plan that segments with a pre-trained network its weights; any other plan stays as it is.

    Parameters
    ----------
    plan : MaskPlan
        As read. Its digest does not change.
    objects : Objects
        Of the lake that holds the weights.

    Raises
    ------
    NotFoundError
        The network was not imported into this lake.
    """
    segment = plan.segment
    return replace(plan, segment=segment.with_network(objects)) if isinstance(segment, Pretrained) else plan
