"""Mining of tables: what holds for whatever rows there are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxlake.learning.tables.nearest import build_index
from voxlake.learning.tables.rates import discovery_rates
from voxlake.learning.tables.robust import linear_effect
from voxlake.learning.tables.shift import number_difference, stability_index

QUICK = settings(max_examples=40, deadline=None)
SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=30)
SEEDS = st.integers(0, 2**32 - 1)


@QUICK
@given(SHARES)
def test_rates_keep_the_order_and_lie_above_the_p_values(values: list[float]) -> None:
    rates = discovery_rates(values)
    assert ((rates >= np.array(values) - 1e-15) & (rates <= 1)).all()
    order = np.argsort(values, kind="stable")
    assert (np.diff(rates[order]) >= 0).all()
    assert discovery_rates(values[::-1])[::-1] == pytest.approx(rates)


@QUICK
@given(SEEDS, st.integers(2, 40), st.integers(1, 8))
def test_neighbours_of_other_patients_are_all_that_brute_force_finds(
    seed: int, rows: int, wanted: int
) -> None:
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(rows, 3)).astype("f4")
    groups = generator.integers(0, 5, rows)
    found, far = build_index(vectors).search_others(vectors, groups, groups, wanted)
    distances = np.linalg.norm(vectors[:, None].astype(float) - vectors[None], axis=2)
    for row in range(rows):
        foreign = np.flatnonzero(groups != groups[row])
        count = min(wanted, len(foreign))
        assert (found[row, :count] >= 0).all()
        assert (found[row, count:] == -1).all()
        assert far[row, :count] == pytest.approx(np.sort(distances[row, foreign])[:count], abs=2e-3)


@QUICK
@given(SEEDS, st.integers(8, 40), st.floats(0.1, 50), st.floats(-20, 20))
def test_effects_follow_a_change_of_unit(seed: int, rows: int, factor: float, offset: float) -> None:
    generator = np.random.default_rng(seed)
    codes = np.unique(generator.integers(0, rows, rows), return_inverse=True)[1]
    flag = np.tile([0.0, 1.0], rows)[:rows]
    values = generator.normal(size=rows)
    design = np.column_stack((flag, np.ones(rows)))
    first = linear_effect(values, design, codes)
    second = linear_effect(factor * values + offset, design, codes)
    assert (second.value, second.low, second.high) == pytest.approx(
        (factor * first.value, factor * first.low, factor * first.high), rel=1e-5, abs=1e-6, nan_ok=True
    )
    assert second.p_value == pytest.approx(first.p_value, rel=1e-4, abs=1e-9, nan_ok=True)


@QUICK
@given(SEEDS, st.integers(4, 30), st.integers(4, 30))
def test_exchanging_the_centres_turns_the_sign(seed: int, first: int, second: int) -> None:
    values = np.random.default_rng(seed).normal(size=first + second)
    flags = np.arange(first + second) < first
    codes = np.arange(first + second)
    one, other = number_difference(values, flags, codes), number_difference(values, ~flags, codes)
    assert one.standardised == pytest.approx(-other.standardised)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert one.p_value == pytest.approx(other.p_value)
    assert stability_index(values, flags) >= 0
