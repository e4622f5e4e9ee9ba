"""All pairs of hashes that differ in few bits, without comparing all with all.

Multi-index hashing (Norouzi, Punjani, Fleet 2012, arXiv:1307.2982) for a join of a set with itself. The bits
are dealt to bands. If two hashes differ in at most d bits and there are d + 1 bands, one band is equal
(pigeonhole); with d // 3 + 1 bands, one band differs in at most two bits, and then some key lies within one
bit of both. So every hash is filed under its keys, and only hashes that meet under a key are compared. The
result is exact: the pairs that comparing all with all would give.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import UsageError

__all__ = ["Pairs", "nearest_elsewhere", "pairs_within"]

Words = NDArray[np.uint64]
Index = NDArray[np.int64]

# Keys that are sorted at once, and candidates that are compared at once: they bound the memory.
_KEYS_AT_ONCE = 2**24
_CANDIDATES_AT_ONCE = 2**20
_WIDEST_KEY = 30
# Below so many bits per hash a band with equal bits meets too often; neighbours of keys are filed instead.
_SPARE_BITS = 4


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of rows, sorted.

    Parameters
    ----------
    first, second : array of int64
        Rows, ``first < second``.
    distance : array of int64
        Number of bits that differ.
    """

    first: Index
    second: Index
    distance: Index

    def __len__(self) -> int:
        return len(self.first)


def pairs_within(hashes: Words, distance: int, *, groups: Index | None = None) -> Pairs:
    """Find all pairs of hashes that differ in at most `distance` bits.

    Parameters
    ----------
    hashes : array of uint64
        (n, words): each row is one hash.
    distance : int
        Largest number of different bits.
    groups : array of int64, optional
        (n,): pairs within one group are left out.

    Returns
    -------
    Pairs
        As many as there are: k equal hashes make k (k - 1) / 2 pairs; `nearest_elsewhere` gives one for each.

    Raises
    ------
    UsageError
        `hashes` is no table of uint64, or `distance` is negative.
    """
    families = _families(hashes, distance, groups)
    first, second, found = families.pairs(distance)
    left, right, apart = _crossed(families, first, second, found)
    if groups is not None:
        kept = groups[left] != groups[right]
        left, right, apart = left[kept], right[kept], apart[kept]
    left, right = np.minimum(left, right), np.maximum(left, right)
    order = np.lexsort((right, left))
    return Pairs(left[order], right[order], apart[order])


def nearest_elsewhere(hashes: Words, distance: int, groups: Index) -> tuple[Index, Index]:
    """For every hash the nearest one of another group, if it differs in at most `distance` bits.

    Parameters
    ----------
    hashes : array of uint64
        (n, words).
    distance : int
        Largest number of different bits.
    groups : array of int64
        (n,): not negative.

    Returns
    -------
    nearest : array of int64
        (n,): a row, -1 where there is none. Of several at one distance the first.
    distance : array of int64
        (n,): bits that differ, -1 where there is none.
    """
    families = _families(hashes, distance, groups)
    count = len(hashes)
    best = np.full(count, np.iinfo(np.int64).max)
    first, second, found = families.pairs(distance)
    own = np.arange(len(families.first), dtype=np.int64)
    sides = ((own, own, np.zeros_like(own)), (first, second, found), (second, first, found))
    for here, there, apart in sides:
        repeats = families.size[here]
        rows = families.rows_of(here)
        other = np.repeat(there, repeats)
        partner = families.first[other]
        partner = np.where(groups[partner] == groups[rows], families.stranger[other], partner)
        # Distance before row: the smallest of these numbers is the nearest, and of those the first.
        rank = np.repeat(apart, repeats) * count + partner
        known = partner >= 0
        np.minimum.at(best, rows[known], rank[known])
    none = best == np.iinfo(np.int64).max
    return np.where(none, -1, best % max(count, 1)), np.where(none, -1, best // max(count, 1))


@dataclass(frozen=True, eq=False)
class _Families:
    """Equal hashes together, so that a hash that thousands share is compared once."""

    words: Words
    order: Index
    start: Index
    size: Index
    first: Index
    stranger: Index
    group: Index

    def rows_of(self, families: Index) -> Index:
        """Rows of several families, end to end."""
        size = self.size[families]
        offset = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        rows: Index = self.order[np.repeat(self.start[families], size) + offset]
        return rows

    def pairs(self, distance: int) -> tuple[Index, Index, Index]:
        """Pairs of families within a distance, each once."""
        columns = [np.ascontiguousarray(self.words[:, number]) for number in range(self.words.shape[1])]
        parts = [
            _compared(columns, first, second, distance)
            for first, second in _candidates(self.words, distance, self.group)
        ]
        if not parts:
            empty = np.zeros(0, np.int64)
            return empty, empty, empty
        first, second, found = (np.concatenate(part) for part in zip(*parts, strict=True))
        _, once = np.unique(first * len(self.words) + second, return_index=True)
        return first[once], second[once], found[once]


def _families(hashes: Words, distance: int, groups: Index | None) -> _Families:
    if hashes.ndim != 2 or hashes.dtype != np.uint64 or distance < 0:
        raise UsageError(
            f"expected hashes as a table of uint64 and a distance from 0, got {hashes.dtype} of shape "
            f"{hashes.shape} and {distance}"
        )
    count = len(hashes)
    order = np.lexsort(hashes.T[::-1]) if count else np.zeros(0, np.int64)
    ordered = hashes[order]
    new = np.ones(count, bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    start = np.flatnonzero(new)
    size = np.diff(start, append=count)
    first = order[start]
    belongs = np.repeat(np.arange(len(start)), size)
    stranger = np.full(len(start), -1)
    group = np.full(len(start), -1)
    if groups is not None:
        other = groups[order] != groups[first][belongs]
        places, index = np.unique(belongs[other], return_index=True)
        stranger[places] = order[other][index]
        group = np.where(stranger < 0, groups[first], -1)
    return _Families(ordered[start], order, start, size, first, stranger, group)


def _crossed(families: _Families, first: Index, second: Index, distance: Index) -> tuple[Index, Index, Index]:
    """Pairs of rows out of pairs of families, and those within a family."""
    size = families.size
    blocks = size[first] * size[second]
    inner = np.arange(blocks.sum()) - np.repeat(np.cumsum(blocks) - blocks, blocks)
    width = np.repeat(size[second], blocks)
    left = families.order[np.repeat(families.start[first], blocks) + inner // np.maximum(width, 1)]
    right = families.order[np.repeat(families.start[second], blocks) + inner % np.maximum(width, 1)]
    end = np.repeat(families.start + size, size)
    within = list(_expanded(np.arange(len(families.order)), end))
    places = [np.concatenate([part[side] for part in within] or [inner[:0]]) for side in (0, 1)]
    return (
        np.concatenate([left, families.order[places[0]]]),
        np.concatenate([right, families.order[places[1]]]),
        np.concatenate([np.repeat(distance, blocks), np.zeros(len(places[0]), np.int64)]),
    )


def _candidates(words: Words, distance: int, group: Index) -> Iterator[tuple[Index, Index]]:
    """Pairs that may be near; near ones are all among them, some more than once."""
    count, bits = len(words), 64 * words.shape[1]
    if count < 2:
        return
    near = distance + 1 > bits or bits // (distance + 1) < np.log2(count) + _SPARE_BITS
    bands = min(distance // 3 + 1 if near else distance + 1, bits)
    # With fewer bits than bands the pigeonholes are too few: everything is compared.
    if distance // bands > (2 if near else 0):
        yield from _expanded(np.arange(count), np.full(count, count))
        return
    for chosen in _bands(words, bands):
        yield from _meeting(_keys(words, chosen), len(chosen), near, group)


def _bands(words: Words, bands: int) -> list[Index]:
    """Deal the bits to bands: those that tell most apart first, so that each band gets its share."""
    bits = 64 * words.shape[1]
    sample = words[:: max(1, len(words) // 4096)]
    flags = np.unpackbits(sample.view(np.uint8), axis=1, bitorder="little")
    order = np.argsort(np.abs(flags.mean(axis=0) - 0.5), kind="stable")
    return [order[start:bits:bands][:_WIDEST_KEY] for start in range(bands)]


def _keys(words: Words, chosen: Index) -> Words:
    key = np.zeros(len(words), np.uint64)
    for place, bit in enumerate(chosen):
        flag = (words[:, bit // 64] >> np.uint64(bit % 64)) & np.uint64(1)
        key |= flag << np.uint64(place)
    return key


def _meeting(key: Words, width: int, near: bool, group: Index) -> Iterator[tuple[Index, Index]]:
    """Pairs that are filed under one key."""
    count = len(key)
    index_bits = np.uint64(int(count - 1).bit_length())
    index_mask = (np.uint64(1) << index_bits) - np.uint64(1)
    index = np.arange(count, dtype=np.uint64)
    flips = [np.uint64(0)] + ([np.uint64(1) << np.uint64(bit) for bit in range(width)] if near else [])
    # Memory is bounded by taking the keys in parts, by their highest bits.
    part_bits = min(width, max(0, int(np.ceil(np.log2(count * len(flips) / _KEYS_AT_ONCE)))))
    shift = np.uint64(width - part_bits)
    for part in range(2**part_bits):
        filed = []
        for flip in flips:
            flipped = key ^ flip
            inside = slice(None) if not part_bits else flipped >> shift == np.uint64(part)
            filed.append((flipped[inside] << index_bits) | index[inside])
        ordered = np.concatenate(filed)
        ordered.sort()
        # Neighbours that differ in their index alone have one key.
        place = np.flatnonzero((ordered[1:] ^ ordered[:-1]) < np.uint64(1) << index_bits)
        last = np.flatnonzero(np.diff(place, append=-1) != 1)
        end = np.repeat(place[last] + 2, np.diff(last, prepend=-1))
        for first, second in _expanded(place, end):
            left = (ordered[first] & index_mask).astype(np.int64)
            right = (ordered[second] & index_mask).astype(np.int64)
            kept = (group[left] != group[right]) | (group[left] < 0)
            left, right = left[kept], right[kept]
            yield np.minimum(left, right), np.maximum(left, right)


def _expanded(place: Index, end: Index) -> Iterator[tuple[Index, Index]]:
    """Each place with every later one before its end, in blocks of bounded size."""
    partners = end - place - 1
    total = np.cumsum(partners)
    begin = 0
    while begin < len(place):
        done = total[begin - 1] if begin else 0
        stop = max(begin + 1, int(np.searchsorted(total, done + _CANDIDATES_AT_ONCE, side="right")))
        many = partners[begin:stop]
        first = np.repeat(place[begin:stop], many)
        offset = np.arange(len(first)) - np.repeat(np.cumsum(many) - many, many)
        if len(first):
            yield first, first + 1 + offset
        begin = stop


def _compared(columns: list[Words], first: Index, second: Index, distance: int) -> tuple[Index, Index, Index]:
    found = np.zeros(len(first), np.int64)
    for number, column in enumerate(columns):
        found += np.bitwise_count(column[first] ^ column[second])
        # Half of the words is enough to drop nearly all; the rest is looked up for what is left.
        if number % 2 or number == len(columns) - 1:
            kept = found <= distance
            first, second, found = first[kept], second[kept], found[kept]
    return first, second, found
