"""Drift between centres: by definition, against SciPy and scikit-learn's worlds, and on planted shifts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from threadpoolctl import threadpool_limits

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.learning.mining import MiningTask
from voxlake.learning.tables.drift import mine_drift, tell_apart
from voxlake.learning.tables.make import table_from_arrays
from voxlake.learning.tables.settings import FoldSettings
from voxlake.learning.tables.shift import (
    category_difference,
    number_difference,
    permuted,
    stability_index,
)
from voxlake.store.schema.models import ASSOCIATIONS


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for each other on a busy machine take longer than one alone."""
    with threadpool_limits(1):
        yield


def halves(first, second):
    flags = np.repeat([True, False], (len(first), len(second)))
    return np.concatenate((first, second)), flags, np.arange(len(flags))


def test_a_number_by_definition() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(1, 2, 60), generator.normal(0, 1, 90)
    found = number_difference(*halves(first, second))
    spread = math.sqrt((first.var() + second.var()) / 2)
    assert found.standardised == pytest.approx((first.mean() - second.mean()) / spread)
    assert found.low < found.standardised < found.high
    oracle = scipy.stats.ks_2samp(first, second)
    assert (found.test, found.statistic) == ("Kolmogorov-Smirnov", pytest.approx(oracle.statistic))
    assert found.p_value == pytest.approx(oracle.pvalue)


def test_influence_is_what_leaving_a_row_out_does() -> None:
    generator = np.random.default_rng(2)
    values, flags, codes = halves(generator.normal(1, 2, 60), generator.normal(0, 1, 60))
    whole = number_difference(values, flags, codes)
    left = [
        number_difference(np.delete(values, row), np.delete(flags, row), np.arange(119)).standardised
        for row in range(120)
    ]
    jackknife = math.sqrt(119 / 120 * ((np.array(left) - np.mean(left)) ** 2).sum())
    half = scipy.stats.t.ppf(0.975, 59)
    assert (whole.high - whole.low) / 2 == pytest.approx(half * jackknife, rel=0.05)


def test_patients_with_many_rows_do_not_count_as_many_patients() -> None:
    generator = np.random.default_rng(3)
    first, second = generator.normal(size=(2, 20))
    values, flags, codes = halves(first, second)
    once = number_difference(values, flags, codes)
    copied = number_difference(
        np.repeat(values, 5), np.repeat(flags, 5), np.repeat(codes, 5), permutations=499
    )
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))
    assert "permuted" in copied.test
    assert copied.p_value == pytest.approx(once.p_value, abs=0.12)
    assert copied.p_value > 5 * scipy.stats.ks_2samp(np.repeat(first, 5), np.repeat(second, 5)).pvalue


def test_a_category_by_definition() -> None:
    first, second = np.repeat(["a", "b"], (30, 10)), np.repeat(["a", "b"], (25, 35))
    values, flags, codes = halves(first.astype(object), second.astype(object))
    found = category_difference(values, flags, codes)
    p, q = 30 / 40, 25 / 60
    assert found.standardised == pytest.approx(abs(p - q) / math.sqrt((p * (1 - p) + q * (1 - q)) / 2))
    oracle = scipy.stats.chi2_contingency([[30, 10], [25, 35]], correction=False)
    assert (found.statistic, found.p_value) == pytest.approx((oracle.statistic, oracle.pvalue))
    doubled = category_difference(
        np.repeat(values, 2), np.repeat(flags, 2), np.repeat(codes, 2), permutations=499
    )
    assert doubled.statistic == pytest.approx(2 * found.statistic)
    assert doubled.p_value == pytest.approx(found.p_value, abs=0.03)


def test_constant_numbers_and_one_sided_patients() -> None:
    values, flags, codes = halves(np.ones(5), np.ones(6))
    assert number_difference(values, flags, codes).standardised == 0
    values, flags, codes = halves(np.ones(5), np.zeros(6))
    assert math.isnan(number_difference(values, flags, codes).standardised)
    assert math.isnan(permuted(lambda _: 0.0, flags, np.zeros(11, dtype=int), permutations=9, seed=0))


def test_stability_index_by_hand() -> None:
    values, flags, _ = halves(
        np.array(["a", "b"] * 5, dtype=object), np.array(["a"] * 8 + ["b"] * 2, dtype=object)
    )
    assert stability_index(values, flags) == pytest.approx(
        (0.5 - 0.8) * math.log(0.5 / 0.8) * 1 + 0.3 * math.log(2.5)
    )
    generator = np.random.default_rng(1)
    reference = generator.normal(size=1000)
    same, flags, _ = halves(generator.normal(size=1000), reference)
    assert stability_index(same, flags) < 0.1
    moved, flags, _ = halves(generator.normal(2, 1, 1000), reference)
    edges = np.quantile(reference, np.linspace(0, 1, 11)[1:-1])
    shares = [
        np.maximum(np.bincount(np.searchsorted(edges, part), minlength=10) / 1000, 1e-4)
        for part in (moved[:1000], reference)
    ]
    assert stability_index(moved, flags) == pytest.approx(
        ((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum()
    )


def scanners(shift=0.0, rows=120, seed=4):
    generator = np.random.default_rng(seed)
    centre = np.repeat(["north", "south", "west"], (rows // 2, rows // 2 - 3, 3))
    return table_from_arrays(
        {
            "thickness": generator.normal(size=rows) + shift * (centre == "south"),
            "noise": generator.normal(size=rows),
            "kernel": np.where(generator.random(rows) < 0.5, "sharp", "soft"),
            "same": np.ones(rows),
            "gone": np.where(centre == "south", np.nan, generator.normal(size=rows)),
        },
        groups=[f"{name}{row // 2}" for row, name in enumerate(centre)],
        asides={"centre": centre},
    )


def drifting(**options):
    return MiningTask.read(
        {
            "name": "d",
            "kind": "drift",
            "level": "row",
            "inputs": [{"source": "file", "path": "x.csv"}],
            "folds": {"outer": 4},
            "options": {"centre": "centre", "permutations": 299, **options},
        }
    )


def test_a_shift_is_found_and_the_rest_left_alone() -> None:
    notes = []
    mined = mine_drift(scanners(shift=2.5), drifting(), notes.append)
    assert notes == ["south", "south, together"]
    rows = {row["variable"]: row for row in mined.associations}
    assert set(rows) == {"thickness", "noise", "kernel"}
    assert rows["thickness"]["value"] > 1.5
    assert rows["thickness"]["q_value"] < 0.05 < rows["noise"]["p_value"]
    assert rows["thickness"]["target"] == "centre: south less north"
    known = {column.name for column in ASSOCIATIONS.columns} - {"model_id", "run_id", "committed_at"}
    assert all(set(row) == known for row in rows.values())
    results = mined.results
    assert results["left_out"] == {"west": 3}
    assert results["centres"] == {"north": 60, "south": 57}
    by_name = {one["variable"]: one for one in results["variables"]}
    assert by_name["same"]["not_compared"] == "has one value everywhere"
    assert (by_name["gone"]["missing"], by_name["gone"]["missing_in_reference"]) == (1, 0)
    (area,) = results["estimates"]
    assert area["name"] == "roc_auc of telling south apart"
    # What is missing tells the centres apart without an error, so there is no interval.
    assert area["value"] == 1
    assert area["method"].startswith("none")
    table = scanners(shift=2.5)
    shifted = table.with_inputs(table.inputs[:3]).take(range(117))
    flags = np.array([value == "south" for value in shifted.column("centre").values])
    found = tell_apart(shifted, flags, FoldSettings(outer=4))
    assert 0.8 < found.low < found.value < 1


def test_without_drift_the_centres_cannot_be_told_apart() -> None:
    table = scanners(rows=200)
    table = table.with_inputs(table.inputs[:3])
    flags = np.array([value == "south" for value in table.column("centre").values])
    found = tell_apart(table, flags, FoldSettings(outer=4))
    assert found.low < 0.5 < found.high
    assert found.groups == len(set(table.groups))


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match=r"'nord'.*'north'"):
        mine_drift(scanners(), drifting(reference="nord"), lambda _: None)
    with pytest.raises(UsageError, match="needs two values"):
        mine_drift(scanners(), drifting(fewest=59), lambda _: None)
    with pytest.raises(NotFoundError, match=r"'centr'.*'centre'"):
        mine_drift(scanners(), drifting(centre="centr"), lambda _: None)


def test_too_few_patients_to_tell_apart_is_said() -> None:
    table = scanners()
    few = table.take([*range(6), *range(60, 66)])
    mined = mine_drift(few, drifting(fewest=6, reference="north"), lambda _: None)
    (area,) = mined.results["estimates"]
    assert area["value"] is None
    assert "3 patients for 4 folds" in area["method"]


@pytest.mark.slow
def test_intervals_cover() -> None:
    generator = np.random.default_rng(8)
    inside, draws = 0, 1500
    for _ in range(draws):
        codes = np.repeat(np.arange(60), generator.integers(1, 5, 60))
        flags = codes < 25
        shared = generator.normal(size=60)[codes]
        values = 0.7 * flags + (shared + generator.normal(size=len(codes))) * np.where(flags, 1.2, 0.8)
        found = number_difference(values, flags, codes, permutations=99)
        truth = 0.7 / math.sqrt(2 * (1.44 + 0.64) / 2)
        inside += found.low <= truth <= found.high
    assert 0.92 <= inside / draws <= 0.98
