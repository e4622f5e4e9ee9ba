"""Dealing groups out to parts so that every part looks like the whole; pure numbers, no lake."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import UsageError

__all__ = ["assign_parts", "balanced"]

_PASSES = 20
# Below this a move is rounding, not an improvement.
_LEAST = 1e-9


def assign_parts(
    groups: Sequence[str], strata: Sequence[Sequence[str]], shares: Sequence[float], *, seed: int
) -> list[int]:
    """Give every sample a part such that no group is divided and every part has its share of every value.

    What is evened out is the number of samples, of each value of each variable, and of each combination of
    values. Groups are dealt out rarest combination first, largest first, each where it brings the counts
    nearest to what is wanted (after Sechidis, Tsoumakas and Vlahavas, On the Stratification of Multi-Label
    Data, ECML 2011); then single groups are moved as long as that helps. Ties go by a keyed hash of the
    group's name, so the result does not depend on the order of the samples.

    Parameters
    ----------
    groups : sequence of str
        Group of each sample.
    strata : sequence of sequence of str
        Values of each sample, one for each variable; may be empty.
    shares : sequence of float
        Wanted share of each part, above 0, adding up to 1.
    seed : int
        Seed.

    Returns
    -------
    list of int
        Part of each sample.

    Raises
    ------
    UsageError
        There are fewer groups than parts, or the shares are none.
    """
    wanted = np.asarray(shares, dtype=np.float64)
    if not len(wanted) or (wanted <= 0).any() or not np.isclose(wanted.sum(), 1):
        raise UsageError(f"shares must be numbers above 0 that add up to 1, got {list(shares)}")
    names = sorted(set(groups))
    if len(names) < len(wanted):
        raise UsageError(
            f"{len(names)} groups cannot fill {len(wanted)} parts; use fewer parts or a larger cohort"
        )
    counts = _counts(names, groups, strata)
    totals = counts.sum(axis=0)
    # A value that few samples have counts as much as a frequent one.
    weights = 1 / np.maximum(totals, 1)
    part_of = _dealt(names, counts, totals, weights, wanted, seed)
    _improve(part_of, counts, np.outer(wanted, totals), weights, names, seed)
    place = {name: int(part) for name, part in zip(names, part_of, strict=True)}
    return [place[group] for group in groups]


def balanced(groups: Sequence[str], labels: Sequence[str], *, seed: int) -> list[bool]:
    """Say which samples stay so that all classes have as many as the smallest: whole groups are left out.

    A group with samples of several classes always stays. Where groups have several samples, a class may keep
    more than the smallest has, by less than its smallest left group.

    Parameters
    ----------
    groups, labels : sequence of str
        Group and class of each sample.
    seed : int
        Which groups are left out.

    Returns
    -------
    list of bool
        Whether each sample stays.
    """
    kinds: defaultdict[str, set[str]] = defaultdict(set)
    for group, label in zip(groups, labels, strict=True):
        kinds[group].add(label)
    counts = Counter(labels)
    target = min(counts.values(), default=0)
    sizes = Counter(groups)
    left_out: set[str] = set()
    for group in sorted(sizes, key=lambda name: (-sizes[name], _order(name, seed))):
        label = min(kinds[group])
        if len(kinds[group]) == 1 and counts[label] - sizes[group] >= target:
            counts[label] -= sizes[group]
            left_out.add(group)
    return [group not in left_out for group in groups]


def _counts(
    names: Sequence[str], groups: Sequence[str], strata: Sequence[Sequence[str]]
) -> NDArray[np.float64]:
    """Samples of each group by feature: all, each value of each variable, each combination of values."""
    row = {name: number for number, name in enumerate(names)}
    described = [
        [("", ""), *enumerate(values), ("all", tuple(values))] if values else [("", "")] for values in strata
    ]
    column = {
        feature: number
        for number, feature in enumerate(sorted({f for one in described for f in one}, key=str))
    }
    counts = np.zeros((len(names), len(column)))
    for group, features in zip(groups, described, strict=True):
        for feature in features:
            counts[row[group], column[feature]] += 1
    return counts


def _dealt(
    names: Sequence[str],
    counts: NDArray[np.float64],
    totals: NDArray[np.float64],
    weights: NDArray[np.float64],
    wanted: NDArray[np.float64],
    seed: int,
) -> NDArray[np.int64]:
    rarest = [float(totals[row > 0].min()) for row in counts]
    sizes = counts.max(axis=1)
    order = sorted(range(len(names)), key=lambda n: (rarest[n], -sizes[n], _order(names[n], seed)))
    short = np.outer(wanted, totals)
    part_of = np.zeros(len(names), dtype=np.int64)
    empty = set(range(len(wanted)))
    for left, number in zip(range(len(order), 0, -1), order, strict=True):
        need = (short * weights) @ counts[number] / wanted
        if left <= len(empty):
            need[[part for part in range(len(wanted)) if part not in empty]] = -np.inf
        part = int(np.argmax(need))
        part_of[number] = part
        empty.discard(part)
        short[part] -= counts[number]
    return part_of


def _improve(
    part_of: NDArray[np.int64],
    counts: NDArray[np.float64],
    wanted: NDArray[np.float64],
    weights: NDArray[np.float64],
    names: Sequence[str],
    seed: int,
) -> None:
    """Move single groups while the weighted squared distance to what is wanted falls."""
    parts = len(wanted)
    excess = np.stack([counts[part_of == part].sum(axis=0) for part in range(parts)]) - wanted
    filled = np.bincount(part_of, minlength=parts)
    order = sorted(range(len(names)), key=lambda n: _order(names[n], seed))
    for _ in range(_PASSES):
        moved = False
        for number in order:
            old, row = int(part_of[number]), counts[number]
            if filled[old] == 1:
                continue
            leaving = (weights * (row**2 - 2 * excess[old] * row)).sum()
            entering = (weights * (row**2 + 2 * excess * row)).sum(axis=1)
            entering[old] = -leaving
            new = int(np.argmin(entering))
            if entering[new] + leaving < -_LEAST and new != old:
                part_of[number] = new
                excess[old] -= row
                excess[new] += row
                filled[old] -= 1
                filled[new] += 1
                moved = True
        if not moved:
            return


def _order(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()
