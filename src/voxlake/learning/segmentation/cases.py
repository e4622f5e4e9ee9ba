"""Volumes with masks, in memory or mapped from disk, and where their classes lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.digest import digest_json
from voxlake.core.errors import UsageError
from voxlake.learning.segmentation.settings import IGNORE

__all__ = ["Case", "Cases", "foreground_index"]

# So many voxels of a class stand for all of them: drawing from more makes no difference.
_MOST_VOXELS = 10_000


@dataclass(frozen=True, eq=False)
class Case:
    """One volume and what is true of its voxels.

    Parameters
    ----------
    case_id : str
        Which volume.
    group : str
        What it must be kept together with, for example the patient.
    values : numpy.ndarray
        (slices, rows, columns) or with channels at the end, as it was prepared; may be mapped from a file.
    labels : numpy.ndarray
        uint8 (slices, rows, columns): 0 background, then the classes, `IGNORE` where none counts.
    spacing : tuple of float
        Distance of voxels along slice, row and column in mm; 1 on flat images.
    content : str
        Digest of values and labels.
    """

    case_id: str
    group: str
    values: NDArray[Any] = field(repr=False)
    labels: NDArray[np.uint8] = field(repr=False)
    spacing: tuple[float, float, float]
    content: str

    def __post_init__(self) -> None:
        if tuple(self.values.shape[:3]) != tuple(self.labels.shape):
            raise UsageError(
                f"values of {tuple(self.values.shape)} and labels of {tuple(self.labels.shape)} do not lie "
                "on one grid; bring the mask to the grid of the volume first"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        slices, rows, columns = self.labels.shape
        return slices, rows, columns

    @property
    def channels(self) -> int:
        """Channels of the values."""
        return 1 if self.values.ndim == 3 else int(self.values.shape[3])

    def image(self) -> NDArray[np.float32]:
        """All values, float32 (channels, slices, rows, columns)."""
        return as_channels(self.values)


@dataclass(frozen=True, eq=False)
class Cases:
    """Volumes that are learned from together.

    Parameters
    ----------
    items : tuple of Case
        At least one, all with equally many channels.
    classes : tuple of str
        Names of the classes without the background, in the order of the label values from 1.
    dimensions : {2, 3}
        2 for single images: all cases have one slice.

    Raises
    ------
    UsageError
        There is none, or they do not fit together.
    """

    items: tuple[Case, ...]
    classes: tuple[str, ...]
    dimensions: int
    _places: dict[int, tuple[NDArray[np.int64], ...]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.items:
            raise UsageError("there is no volume with a mask to learn from")
        if len({case.channels for case in self.items}) > 1:
            raise UsageError("volumes have different numbers of channels; prepare them under one plan")
        if self.dimensions == 2 and any(case.shape[0] != 1 for case in self.items):
            raise UsageError(
                "the network takes single images (dimensions = 2), but volumes have several slices; "
                "set dimensions = 3 or prepare single slices"
            )

    def __len__(self) -> int:
        return len(self.items)

    @property
    def channels(self) -> int:
        """Channels of every case."""
        return self.items[0].channels

    @property
    def ids(self) -> tuple[str, ...]:
        """Which volume each case is."""
        return tuple(case.case_id for case in self.items)

    def take(self, index: Sequence[int]) -> Cases:
        """The cases at the given positions, in that order."""
        return Cases(tuple(self.items[place] for place in index), self.classes, self.dimensions)

    def extent(self, multiple: int) -> tuple[int, ...]:
        """Smallest extent that holds every case and is a multiple of a number along each axis."""
        largest = np.max([case.shape[3 - self.dimensions :] for case in self.items], axis=0)
        return tuple(int(-(-size // multiple) * multiple) for size in largest)

    def places(self, position: int) -> tuple[NDArray[np.int64], ...]:
        """Voxels of each class of a case, flat indices, found on first use; empty where it has none."""
        if position not in self._places:
            self._places[position] = foreground_index(self.items[position].labels, len(self.classes))
        return self._places[position]

    def digest(self) -> str:
        """SHA-256 over contents, classes and names."""
        return digest_json(
            [[case.case_id, case.content, list(case.spacing)] for case in self.items]
            + [list(self.classes), self.dimensions]
        )


def foreground_index(labels: NDArray[np.uint8], classes: int) -> tuple[NDArray[np.int64], ...]:
    """Flat indices of the voxels of each class from 1; of many, evenly spread ones.

    Parameters
    ----------
    labels : numpy.ndarray
        uint8, any shape.
    classes : int
        Number of classes without the background.
    """
    flat = np.asarray(labels).reshape(-1)
    shown = np.flatnonzero((flat > 0) & (flat != IGNORE))
    kinds = flat[shown]
    return tuple(_thinned(shown[kinds == value]) for value in range(1, classes + 1))


def as_channels(values: NDArray[Any]) -> NDArray[np.float32]:
    """float32 (channels, slices, rows, columns) from values with channels at the end, if any."""
    first = values[None] if values.ndim == 3 else np.moveaxis(values, -1, 0)
    return np.ascontiguousarray(first, dtype=np.float32)


def _thinned(places: NDArray[np.intp]) -> NDArray[np.int64]:
    if len(places) <= _MOST_VOXELS:
        return places.astype(np.int64)
    return places[np.linspace(0, len(places) - 1, _MOST_VOXELS).astype(np.int64)].astype(np.int64)
