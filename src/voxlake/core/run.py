"""One execution of a verb and its balance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from voxlake.core.errors import BalanceError

__all__ = ["OUTCOMES", "Run", "balance_words", "check_balance"]

# What may become of an item. Every run adds them up: nothing is ever silently missing.
OUTCOMES = ("stored", "already", "quarantined", "rejected", "ignored", "failed")


@dataclass(frozen=True)
class Run:
    """A finished (or failed) execution.

    Parameters
    ----------
    run_id : str
        Sorts by time.
    verb : str
        ``"ingest"``, ``"prepare"``, ...
    arguments : mapping
        As called, without keys, credentials or source paths.
    outcome : str
        ``"done"`` or ``"failed"``.
    counts : mapping of str to int
        ``seen`` and one count for each of `OUTCOMES` that occurred.
    reasons : mapping of str to int
        How often each reason code occurred among items that were not stored.
    result : mapping
        What the verb made: identifiers, versions, scores.
    seconds : float
        Wall time.
    started_at : str
        UTC, ISO 8601.
    """

    run_id: str
    verb: str
    arguments: Mapping[str, Any]
    outcome: str
    counts: Mapping[str, int]
    seconds: float
    started_at: str
    code_version: str
    reasons: Mapping[str, int] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    input_digest: str | None = None
    error: str | None = None

    @property
    def failures(self) -> int:
        """Items that were quarantined, rejected or failed."""
        return sum(self.counts.get(name, 0) for name in ("quarantined", "rejected", "failed"))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``--json`` prints them."""
        return asdict(self)

    def balance(self) -> str:
        """One line that a person can check: ``68 seen = 61 stored + 7 quarantined``."""
        return f"{self.counts.get('seen', 0):,} seen = {balance_words(self.counts) or '0 stored'}"


_WORDS = {
    "stored": "stored",
    "already": "already there",
    "quarantined": "quarantined",
    "rejected": "rejected by policy",
    "ignored": "ignored",
    "failed": "failed",
}


def balance_words(counts: Mapping[str, int]) -> str:
    """What became of the items: ``61 stored + 7 quarantined``; empty when nothing is done yet."""
    return " + ".join(f"{counts[name]:,} {_WORDS[name]}" for name in OUTCOMES if counts.get(name))


def check_balance(counts: Mapping[str, int]) -> None:
    """Check that every item seen has exactly one outcome.

    Raises
    ------
    BalanceError
        If the counts do not add up; this is a defect of voxlake and is never hidden.
    """
    total = sum(counts.get(name, 0) for name in OUTCOMES)
    if counts.get("seen", 0) != total:
        raise BalanceError(
            f"the run saw {counts.get('seen', 0)} items but accounts for {total} ({dict(counts)}); "
            "this is a defect: please report it, and run the verb again, which redoes what is missing"
        )
