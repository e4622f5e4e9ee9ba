"""The search for near pairs gives what comparing all with all gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxlake.core.errors import UsageError
from voxlake.lake.near_duplicates import nearest_elsewhere, pairs_within


def distances(hashes: np.ndarray) -> np.ndarray:
    """All with all."""
    return np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(axis=2, dtype=np.int64)


def brute(hashes: np.ndarray, distance: int, groups: np.ndarray | None) -> list[tuple[int, int, int]]:
    apart = distances(hashes)
    near = np.triu(apart <= distance, 1)
    if groups is not None:
        near &= groups[:, None] != groups[None]
    return [(int(i), int(j), int(apart[i, j])) for i, j in zip(*np.nonzero(near), strict=True)]


@st.composite
def crowds(draw: st.DrawFn) -> np.ndarray:
    """Hashes with near copies, exact copies, and bits that are mostly the same."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    count, words = draw(st.integers(0, 120)), draw(st.sampled_from([1, 2, 4]))
    often = draw(st.sampled_from([0.5, 0.8, 0.97]))
    bits = random.random((count, 64 * words)) < often
    for place in range(count // 2, count):
        bits[place] = bits[random.integers(0, place)] if place else bits[place]
        bits[place, random.permutation(64 * words)[: random.integers(0, draw(st.integers(1, 50)))]] ^= True
    return np.packbits(bits, axis=1, bitorder="little").view("<u8").astype(np.uint64).reshape(count, words)


@settings(max_examples=150, deadline=None)
@given(crowds(), st.integers(0, 80), st.booleans(), st.integers(1, 6))
def test_the_same_pairs(hashes: np.ndarray, distance: int, grouped: bool, owners: int) -> None:
    groups = np.arange(len(hashes)) % owners if grouped else None
    found = pairs_within(hashes, distance, groups=groups)
    pairs = list(zip(found.first.tolist(), found.second.tolist(), found.distance.tolist(), strict=True))
    assert pairs == brute(hashes, distance, groups)
    assert len(found) == len(pairs)


@settings(max_examples=100, deadline=None)
@given(crowds(), st.integers(0, 60), st.integers(1, 6))
def test_the_nearest_of_another_group(hashes: np.ndarray, distance: int, owners: int) -> None:
    groups = np.arange(len(hashes)) % owners
    nearest, apart = nearest_elsewhere(hashes, distance, groups)
    everything = distances(hashes)
    for row in range(len(hashes)):
        others = np.flatnonzero((groups != groups[row]) & (everything[row] <= distance))
        if not len(others):
            assert (nearest[row], apart[row]) == (-1, -1)
            continue
        best = everything[row, others].min()
        assert apart[row] == best
        assert groups[nearest[row]] != groups[row]
        assert everything[row, nearest[row]] == best


def test_parts_that_bound_the_memory_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    hashes = random.integers(0, 2**64, (3000, 4), dtype=np.uint64)
    hashes[2000:] = hashes[:1000] ^ (np.uint64(1) << random.integers(0, 64, (1000, 4), dtype=np.uint64))
    whole = pairs_within(hashes, 32)
    assert len(whole) == 1000
    monkeypatch.setattr("voxlake.lake.near_duplicates._KEYS_AT_ONCE", 1000)
    monkeypatch.setattr("voxlake.lake.near_duplicates._CANDIDATES_AT_ONCE", 7)
    parts = pairs_within(hashes, 32)
    assert (parts.first == whole.first).all()
    assert (parts.second == whole.second).all()


def test_many_equal_hashes_cost_one_row_each() -> None:
    hashes = np.zeros((200_000, 4), np.uint64)
    nearest, apart = nearest_elsewhere(hashes, 32, np.arange(200_000) % 3)
    assert (apart == 0).all()
    assert nearest[:4].tolist() == [1, 0, 0, 1]


def test_what_is_no_table_of_hashes() -> None:
    with pytest.raises(UsageError, match="uint64"):
        pairs_within(np.zeros(4, np.uint64), 3)
    with pytest.raises(UsageError, match="-1"):
        pairs_within(np.zeros((4, 1), np.uint64), -1)
