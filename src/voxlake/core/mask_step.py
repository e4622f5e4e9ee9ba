"""Steps that end in a mask: a method makes one of a volume, an edit makes another of it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from voxlake.core.settings import Settings
from voxlake.core.volume import Mask, Volume

__all__ = ["MaskEdit", "MaskStep"]


class MaskStep(Settings):
    """A pure function from one volume to a mask on its grid, with typed, frozen settings.

    A subclass sets `name` (as written in a mask plan) and `version` (raised whenever the same settings
    would give another mask) and implements ``__call__``.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1

    @abstractmethod
    def __call__(self, volume: Volume) -> Mask:
        """Segment the volume; the input is not changed."""

    @property
    def tag(self) -> str:
        """``name@version``, as lineage records it."""
        return f"{self.name}@{self.version}"

    def to_dict(self) -> dict[str, Any]:
        """Name and all settings, as a mask plan writes them."""
        return {"method": self.name, **self.model_dump(mode="json")}


class MaskEdit(Settings):
    """A pure function from a mask, and the volume that it was made of, to another mask.

    A subclass sets `name` and `version` as a `MaskStep` does and implements ``__call__``. Mask and volume
    lie on one grid, on which the result lies too.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1

    @abstractmethod
    def __call__(self, mask: Mask, volume: Volume) -> Mask:
        """Edit the mask; the inputs are not changed."""

    @property
    def tag(self) -> str:
        """``name@version``, as lineage records it."""
        return f"{self.name}@{self.version}"

    def to_dict(self) -> dict[str, Any]:
        """Name and all settings, as a mask plan writes them."""
        return {"edit": self.name, **self.model_dump(mode="json")}
