"""A family of features: frozen settings that can be called on a region."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from voxlake.core.digest import digest_json
from voxlake.core.settings import Settings
from voxlake.features.region import Region

__all__ = ["Family", "Feature"]


@dataclass(frozen=True)
class Feature:
    """One number.

    Parameters
    ----------
    name : str
        Name within its family.
    value : float
        NaN where it is not defined, for example the skewness of no voxels.
    code : str or None
        Its code in the reference manual of the Image Biomarker Standardisation Initiative (arXiv:1612.07003).
    unit : str
        Unit of the value; ``""`` for a pure number.
    """

    name: str
    value: float
    code: str | None = None
    unit: str = ""


class Family(Settings):
    """A pure function from a region to numbers, with typed, frozen settings.

    A subclass sets `name` (as written in a plan), `version` (raised whenever the same settings would give
    other numbers) and implements ``__call__``.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    of_image: ClassVar[bool] = True
    """Whether it says anything of a whole image; the shape of one is that of its array."""

    @abstractmethod
    def __call__(self, region: Region) -> tuple[Feature, ...]:
        """Measure the region; the same names in the same order whatever is in it."""

    def to_dict(self) -> dict[str, Any]:
        """Name and all settings, as a plan writes them."""
        return {"family": self.name, **self.model_dump(mode="json")}

    def settings_digest(self) -> str:
        """SHA-256 over name, version and settings: what keys the rows that it makes."""
        return digest_json({**self.to_dict(), "version": self.version})
