"""Vectors of prepared volumes by a pre-trained encoder: what a worker does with a group of volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import IntegrityError, ItemError
from voxlake.lake.lake import Lake, LakeReference
from voxlake.networks.scaling import scaled
from voxlake.volumes.pretrained_models import stored_encoder
from voxlake.volumes.read import read_values

if TYPE_CHECKING:
    from voxlake.networks.encoder_module import Encoder

__all__ = ["Embedded", "Embedding"]


@dataclass(frozen=True, eq=False)
class Embedded:
    """What became of a volume: its vector, float32 (Z,), or a reason."""

    vector: NDArray[np.float32] | None = None
    reason: str | None = None
    detail: str | None = None


@dataclass
class Embedding:
    """Function of a group of rows of `volumes`, for `Engine.map`; the encoder is loaded once per worker.

    Parameters
    ----------
    lake : LakeReference
        Where the lake lies; arrays and weights are read from it.
    model : str
        Name of the encoder.
    extent : int
        Rows and columns that each slice is brought to.
    """

    lake: LakeReference
    model: str
    extent: int
    _cache: dict[str, tuple[Lake, Encoder]] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_cache": {}}

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[Embedded]:
        """Look at a group; images that lie in one array are read once."""
        lake, encoder = self.ready()
        try:
            values = read_values(lake, [dict(row) for row in rows])
        except IntegrityError as error:
            if len(rows) == 1:
                return [Embedded(reason="missing_array", detail=str(error))]
            return [found for row in rows for found in self([row])]
        settled = [_usable(one) for one in values]
        usable = [one for one in settled if not isinstance(one, Embedded)]
        vectors = iter(encoder.vectors(usable, extent=self.extent)) if usable else iter(())
        return [one if isinstance(one, Embedded) else Embedded(next(vectors)) for one in settled]

    def ready(self) -> tuple[Lake, Encoder]:
        """The lake and the encoder, loaded.

        Raises
        ------
        NotFoundError
            The encoder was not imported.
        IntegrityError
            The stored weights are not those that were imported.
        """
        if "it" not in self._cache:
            lake = self.lake.open()
            self._cache["it"] = lake, stored_encoder(lake.objects, self.model)
        return self._cache["it"]


def _usable(values: NDArray[Any]) -> NDArray[np.float32] | Embedded:
    try:
        return scaled(values, "range")
    except ItemError as error:
        return Embedded(reason=error.reason, detail=str(error))
