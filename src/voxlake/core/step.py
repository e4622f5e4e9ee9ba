"""A step: frozen settings that can be called on one item."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from voxlake.core.settings import Settings
from voxlake.core.volume import Volume

__all__ = ["Step"]


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
