"""Items: what a source hands out, one for each file, small enough to travel to a worker.

An item knows its name and how to get its bytes; it opens nothing until `read` is called, which
happens in a worker. Names and hints are identities in the clear: they stay in memory and are left
out of every ``repr``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Protocol

from voxlake.core.errors import ItemError

__all__ = ["NO_HINTS", "BrokenItem", "Hints", "Item", "MappedItem", "Source"]


@dataclass(frozen=True, slots=True, repr=False)
class Hints:
    """What is known about an item without opening it.

    Parameters
    ----------
    patient, study, series : str or None
        Original identifiers, in the clear. They must pass through the pseudonymiser before anything is kept.
    modality, body_part : str or None
        As DICOM would say it: ``"DX"``, ``"CHEST"``.
    labels : tuple of (name, value)
        What the folder, the mapping or the phantom says about the image.
    """

    patient: str | None = None
    study: str | None = None
    series: str | None = None
    modality: str | None = None
    body_part: str | None = None
    labels: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        known = [each.name for each in fields(self) if getattr(self, each.name)]
        return f"Hints({', '.join(known)})"

    def over(self, other: Hints) -> Hints:
        """These hints, completed with those of `other` where nothing is said here."""
        said = {name for name, _ in self.labels}
        return Hints(
            self.patient or other.patient,
            self.study or other.study,
            self.series or other.series,
            self.modality or other.modality,
            self.body_part or other.body_part,
            self.labels + tuple(pair for pair in other.labels if pair[0] not in said),
        )


NO_HINTS = Hints()


class Item(Protocol):
    """One file of a source. Picklable."""

    @property
    def name(self) -> str:
        """Name relative to the root of the source, with ``/`` between the parts."""
        ...

    @property
    def size(self) -> int | None:
        """Bytes as the source announces them; None where it does not."""
        ...

    @property
    def hints(self) -> Hints:
        """What is known without opening it."""
        ...

    @property
    def ignored(self) -> str | None:
        """Reason code if the item is counted but not read, else None."""
        ...

    def read(self, limit: int) -> bytes:
        """The bytes.

        Parameters
        ----------
        limit : int
            Most bytes that are read.

        Raises
        ------
        ItemError
            ``too_large``, ``empty_file``, ``unreadable_source``, ``archive_member`` or ``archive_limit``.
        """
        ...


class Source(Protocol):
    """Hands out items in a fixed order, lazily."""

    @property
    def labels_digest(self) -> str | None:
        """Digest of what the label hints come from (mapping, phantom settings); None without labels."""
        ...

    def __iter__(self) -> Iterator[Item]: ...


@dataclass(frozen=True, slots=True)
class BrokenItem:
    """Something that is there and cannot be read: it fails when it is read, so that it is counted."""

    name: str = field(repr=False)
    reason: str
    message: str
    size: int | None = None
    hints: Hints = NO_HINTS
    ignored: str | None = None

    def read(self, limit: int) -> bytes:  # noqa: ARG002 - the signature of every item
        """Raise the `ItemError` that this item stands for."""
        raise ItemError(self.reason, self.message)


@dataclass(frozen=True, slots=True)
class MappedItem:
    """An item of another source with the hints of a mapping."""

    item: Item
    hints: Hints
    ignored: str | None

    @property
    def name(self) -> str:
        """Name of the item."""
        return self.item.name

    @property
    def size(self) -> int | None:
        """Size of the item."""
        return self.item.size

    def read(self, limit: int) -> bytes:
        """The bytes of the item."""
        return self.item.read(limit)
