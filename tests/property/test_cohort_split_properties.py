"""Splits of any cohort: groups whole, shares near, the order of the rows without effect."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxlake.core.errors import UsageError
from voxlake.lake.split_parts import assign_parts, balanced

SAMPLES = st.lists(
    st.tuples(st.integers(0, 25), st.sampled_from("ab"), st.sampled_from("xyz")), min_size=1, max_size=80
)
SHARES = st.lists(st.integers(1, 9), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(samples=SAMPLES, weights=SHARES, seed=st.integers(0, 5), order=st.randoms())
def test_groups_stay_whole_and_order_does_not_matter(samples, weights, seed, order) -> None:
    groups = [f"g{number}" for number, _, _ in samples]
    strata = [values for _, *values in samples]
    shares = [weight / sum(weights) for weight in weights]
    if len(set(groups)) < len(shares):
        with pytest.raises(UsageError, match="cannot fill"):
            assign_parts(groups, strata, shares, seed=seed)
        return
    parts = assign_parts(groups, strata, shares, seed=seed)
    where = defaultdict(set)
    for group, part in zip(groups, parts, strict=True):
        where[group].add(part)
    assert all(len(found) == 1 for found in where.values())
    assert set(parts) == set(range(len(shares)))
    places = list(range(len(samples)))
    order.shuffle(places)
    shuffled = assign_parts(
        [groups[place] for place in places], [strata[place] for place in places], shares, seed=seed
    )
    assert shuffled == [parts[place] for place in places]


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")), min_size=40, max_size=200),
    seed=st.integers(0, 5),
)
def test_single_samples_are_spread_evenly(labels, seed) -> None:
    groups = [f"g{number}" for number in range(len(labels))]
    shares = np.array([0.6, 0.2, 0.2])
    parts = np.array(assign_parts(groups, labels, list(shares), seed=seed))
    for variable in (0, 1):
        for value, total in Counter(label[variable] for label in labels).items():
            found = np.bincount(parts[[label[variable] == value for label in labels]], minlength=len(shares))
            # Six combinations round by less than one each.
            assert np.abs(found - shares * total).max() < 3
    assert np.abs(np.bincount(parts) - shares * len(labels)).max() < 4


@settings(max_examples=60, deadline=None)
@given(
    samples=st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abc")), min_size=1, max_size=80),
    seed=st.integers(0, 5),
)
def test_balancing_is_equal_up_to_a_group(samples, seed) -> None:
    label_of = dict(samples)
    groups = [f"g{number}" for number, _ in samples]
    labels = [label_of[number] for number, _ in samples]
    stays = balanced(groups, labels, seed=seed)
    before, after = Counter(labels), Counter(label for label, stay in zip(labels, stays, strict=True) if stay)
    target = min(before.values())
    sizes = Counter(groups)
    for label, count in after.items():
        smallest = min(
            sizes[group]
            for group, other, stay in zip(groups, labels, stays, strict=True)
            if other == label and stay
        )
        assert target <= count < target + smallest
    assert set(after) == set(before)
    kept = {group for group, stay in zip(groups, stays, strict=True) if stay}
    gone = {group for group, stay in zip(groups, stays, strict=True) if not stay}
    assert not kept & gone


def test_shares_are_checked() -> None:
    for shares in ([], [0.5, 0.6], [1.0, 0.0]):
        with pytest.raises(UsageError, match="add up to 1"):
            assign_parts(["a", "b"], [(), ()], shares, seed=0)
