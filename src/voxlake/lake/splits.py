"""Splits that keep a patient, and every image that is shared between patients, on one side."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from voxlake.core.errors import LeakageError, UsageError

__all__ = ["assign_folds", "check_leakage", "join_groups"]


def join_groups(groups: Sequence[str], contents: Sequence[Iterable[str]]) -> list[str]:
    """Join groups that share content.

    Parameters
    ----------
    groups : sequence of str
        Group (patient) of each sample.
    contents : sequence of iterable of str
        Digests of what each sample was made from.

    Returns
    -------
    list of str
        For each sample the smallest name among the groups that hang together through shared content.
    """
    parent = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    owner: dict[str, str] = {}
    for group, digests in zip(groups, contents, strict=True):
        for digest in digests:
            first, second = sorted((root(owner.setdefault(digest, group)), root(group)))
            parent[second] = first
    return [root(group) for group in groups]


def assign_folds(
    groups: Sequence[str],
    strata: Sequence[str],
    folds: int,
    *,
    seed: int,
    shares: Sequence[float] | None = None,
) -> list[int]:
    """Give every sample a fold such that no group is divided and the strata are spread evenly.

    Groups are taken in an order that depends on the seed alone (a keyed hash of the group's name, so that
    a widened cohort keeps the relative order of its old groups), largest first, each to the fold that is
    most short of the group's stratum.

    Parameters
    ----------
    groups, strata : sequence of str
        Group and stratum (class) of each sample. The stratum of a group is its most frequent one.
    folds : int
        Number of folds.
    seed : int
        Seed.
    shares : sequence of float, optional
        Wanted share of each fold; equal by default.

    Returns
    -------
    list of int
        Fold of each sample, 0 to ``folds - 1``.

    Raises
    ------
    UsageError
        There are fewer groups of a stratum than folds with a share.
    """
    wanted = np.full(folds, 1 / folds) if shares is None else np.asarray(shares, dtype=np.float64)
    if len(wanted) != folds or (wanted < 0).any() or not np.isclose(wanted.sum(), 1):
        raise UsageError(f"shares must be {folds} numbers of at least 0 that add up to 1, got {list(wanted)}")
    sizes = Counter(groups)
    kinds: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for group, stratum in zip(groups, strata, strict=True):
        kinds[group][stratum] += 1
    stratum_of = {group: min(kind, key=lambda name: (-kind[name], name)) for group, kind in kinds.items()}
    _enough(stratum_of, int((wanted > 0).sum()))
    totals = {stratum: sum(sizes[g] for g in sizes if stratum_of[g] == stratum) for stratum in set(strata)}
    filled: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]] = {
        stratum: np.zeros(folds) for stratum in totals
    }
    fold_of: dict[str, int] = {}
    for group in sorted(sizes, key=lambda name: (-sizes[name], _order(name, seed))):
        stratum = stratum_of[group]
        short = wanted * totals[stratum] - filled[stratum]
        short[wanted == 0] = -np.inf
        fold_of[group] = int(np.argmax(short))
        filled[stratum][fold_of[group]] += sizes[group]
    return [fold_of[group] for group in groups]


def check_leakage(parts: Mapping[str, Sequence[tuple[str, Iterable[str]]]]) -> None:
    """Refuse a split in which a group or a piece of content stands in two parts.

    Parameters
    ----------
    parts : mapping of part to samples
        Each sample is its group and the digests of what it was made from.

    Raises
    ------
    LeakageError
        Names the two parts and how many groups or images they share.
    """
    names = sorted(parts)
    groups = {part: {group for group, _ in parts[part]} for part in names}
    contents = {part: {digest for _, made_from in parts[part] for digest in made_from} for part in names}
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            for what, sets in (("patients", groups), ("images", contents)):
                shared = sets[first] & sets[second]
                if shared:
                    raise LeakageError(
                        f"{len(shared)} {what} stand both in '{first}' and in '{second}' (for example "
                        f"{min(shared)[:16]}): split by patient, joined where images are shared"
                    )


def _order(group: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{group}".encode()).digest()


def _enough(stratum_of: Mapping[str, str], folds: int) -> None:
    for stratum, count in sorted(Counter(stratum_of.values()).items()):
        if count < folds:
            raise UsageError(
                f"class '{stratum}' has {count} patients, but {folds} parts each need one; "
                "use fewer folds or a larger cohort"
            )
