"""A step: frozen settings that can be called on one item."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Protocol, runtime_checkable

from voxlake.core.grid import Grid
from voxlake.core.settings import Settings
from voxlake.core.volume import Volume

__all__ = ["Invertible", "Step"]


class Step(Settings):
    """A pure function of one volume with typed, frozen settings.

    A subclass sets `name` (as written in a plan) and `version` (raised whenever the same settings
    would give other values) and implements ``__call__``.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1

    @abstractmethod
    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""

    @property
    def tag(self) -> str:
        """``name@version``, as lineage records it."""
        return f"{self.name}@{self.version}"

    def to_dict(self) -> dict[str, Any]:
        """Name and all settings, as a plan writes them."""
        return {"step": self.name, **self.model_dump(mode="json")}


@runtime_checkable
class Invertible(Protocol):
    """A step that can be taken back: what was made on the grid after it goes onto the grid before it."""

    def undo(self, volume: Volume, before: Volume | Grid) -> Volume:
        """Take the step back.

        Parameters
        ----------
        volume : Volume
            What the step made, or something else on the same grid (a prediction, an enhanced volume).
        before : Volume or Grid
            What the step was given. From a volume comes what the step took away (voxels outside a crop, the
            unit); from a grid alone it cannot come, and then such voxels are 0.

        Raises
        ------
        GeometryError
            `volume` does not lie where the step puts what lay on `before`.
        """
        ...
