"""What an intake worker returns for one item: small rows, never heavy bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from voxlake.privacy.shapes import Shape

__all__ = ["Taken"]


@dataclass(frozen=True)
class Taken:
    """One item after the worker was done with it.

    Parameters
    ----------
    item : str
        Keyed digest of the source name.
    outcome : str
        ``"new"`` (the driver still has to check it against what others brought in), ``"already"``,
        ``"quarantined"``, ``"rejected"`` or ``"ignored"``.
    row : mapping or None
        Row for `instances`, of a new item.
    labels : tuple of (name, value)
        From the mapping.
    patient : str or None
        Pseudonym that the mapping gives; None where it gives none.
    quarantine : mapping or None
        Row for `quarantine`.
    changes : mapping of str to int
        What de-identification did, and how often.
    waived : tuple of str
        Rules on pixels under whose waivers a new item comes in.
    shape : Shape or None
        What was done to each element of a new item, on the first item of a group that has this shape; the
        row of each names it.
    """

    item: str
    outcome: Literal["new", "already", "quarantined", "rejected", "ignored"]
    source_mac: str | None = None
    row: Mapping[str, Any] | None = None
    labels: tuple[tuple[str, str], ...] = ()
    patient: str | None = None
    quarantine: Mapping[str, Any] | None = None
    changes: Mapping[str, int] = field(default_factory=dict)
    waived: tuple[str, ...] = ()
    shape: Shape | None = None
    reason: str | None = None
    detail: str | None = None
    attempts: int = 1
    seconds: float = 0.0
