"""Mining of kind drift: how centres differ from a reference, variable by variable and taken together.

References
----------
Lopez-Paz D, Oquab M. Revisiting classifier two-sample tests. ICLR 2017.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier

from voxlake.core.errors import UsageError
from voxlake.core.hints import hint
from voxlake.learning.mining import MiningTask
from voxlake.learning.seeds import derived_seed
from voxlake.learning.tables.figures import estimate_row, finite, fitted_on
from voxlake.learning.tables.folds import make_folds
from voxlake.learning.tables.kinds import Tick
from voxlake.learning.tables.options import DriftOptions, options_as
from voxlake.learning.tables.rates import discovery_rates
from voxlake.learning.tables.result import Mined
from voxlake.learning.tables.settings import FoldSettings
from voxlake.learning.tables.shift import (
    Difference,
    category_difference,
    number_difference,
    stability_index,
)
from voxlake.learning.tables.table import Column, FeatureTable
from voxlake.metrics.delong import delong_auc
from voxlake.metrics.estimate import Estimate

__all__ = ["compare_column", "mine_drift", "tell_apart"]

Floats: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]


def mine_drift(table: FeatureTable, task: MiningTask, tick: Tick) -> Mined:
    """Compare every centre of a table with a reference.

    Raises
    ------
    UsageError
        There are not two centres with enough rows, or the reference is none of them.
    """
    options = options_as(task.settings, DriftOptions)
    if task.prepare.harmonise is not None:
        raise UsageError("drift is looked for in the values as they are; leave [prepare] harmonise out")
    centre = table.column(options.centre).as_category()
    reference, others, small = _centres(centre, options)
    rows: list[dict[str, Any]] = []
    variables: list[dict[str, Any]] = []
    estimates: list[dict[str, Any]] = []
    for other in others:
        kept = np.flatnonzero([value in (reference, other) for value in centre.values])
        part = table.take(kept)
        flags = np.array([value == other for value in centre.values[kept]], dtype=np.bool_)
        for column in part.inputs:
            seed = derived_seed(task.folds.seed, "drift", other, column.name)
            one = _compared(column, flags, part.groups, (other, reference), options, seed)
            variables.append(one["stated"])
            if one["row"] is not None:
                rows.append(one["row"])
        tick(other)
        estimates.append(_together(part, flags, other, task, options))
        tick(f"{other}, together")
    rates = discovery_rates([row["p_value"] for row in rows])
    for row, rate in zip(rows, rates, strict=True):
        row["q_value"] = float(rate)
    return Mined(
        kind="drift",
        folds=fitted_on(len(table)),
        results={
            "reference": reference,
            "centres": {name: int((centre.values == name).sum()) for name in (reference, *others)},
            "left_out": small,
            "variables": variables,
            "called": int(sum(rate <= 1 - options.level for rate in rates)),
            "estimates": estimates,
        },
        associations=tuple(rows),
    )


def compare_column(
    column: Column, flags: Flags, groups: tuple[str, ...], options: DriftOptions, *, seed: int = 0
) -> tuple[Difference, float, int, int] | str:
    """Compare one variable between a centre and the reference, where it is known.

    Returns
    -------
    difference : Difference
    stability : float
        Population stability index.
    samples, groups : int
        Rows and patients that have the variable.
    reason : str
        Instead of all these, why it cannot be compared.
    """
    known = ~column.missing
    inside, values = flags[known], column.values[known]
    if inside.sum() < 2 or (~inside).sum() < 2:
        return "known in fewer than two rows of a centre"
    named = np.array(groups)[known]
    _, codes = np.unique(named, return_inverse=True)
    if len(np.unique(values if column.kind == "number" else values.astype(str))) < 2:
        return "has one value everywhere"
    drawn = {"permutations": options.permutations, "seed": seed}
    if column.kind == "number":
        found = number_difference(values, inside, codes.astype(np.int64), level=options.level, **drawn)
    else:
        found = category_difference(values, inside, codes.astype(np.int64), **drawn)
    index = stability_index(values, inside, bins=options.bins)
    return found, index, len(values), len(np.unique(codes))


def tell_apart(
    table: FeatureTable, flags: Flags, folds: FoldSettings, *, level: float = 0.95, seed: int = 0
) -> Estimate:
    """How well a model tells two centres apart, on patients whom it has not seen: 0.5 if there is no drift.

    Boosted trees, which take missing values as they are, so that what is missing may also tell. Scores are
    turned to ranks within each fold, since the models of two folds need not share a scale.

    Parameters
    ----------
    table : FeatureTable
        Rows of both centres.
    flags : numpy.ndarray
        bool (N,), True for the centre.
    folds : FoldSettings
        Outer folds and seed.
    level : float
        Level of the interval.
    seed : int
        Of the trees.

    Raises
    ------
    UsageError
        A centre has fewer patients than folds.
    """
    values, categorical = _encoded(table)
    strata = ["centre" if flag else "reference" for flag in flags]
    scores = np.full(len(table), np.nan)
    for fold in make_folds(table, strata, folds):
        train, test = np.array(fold.train), np.array(fold.test)
        model = HistGradientBoostingClassifier(
            max_iter=60,
            max_leaf_nodes=8,
            min_samples_leaf=max(2, min(20, len(train) // 20)),
            early_stopping=False,
            categorical_features=categorical,
            random_state=seed % 2**32,
        )
        model.fit(values[train], flags[train])
        raw = model.decision_function(values[test])
        scores[test] = (rankdata(raw) - 0.5) / len(raw)
    return delong_auc(flags.astype(np.int64), scores, level, groups=list(table.groups))


def _centres(centre: Column, options: DriftOptions) -> tuple[str, list[str], dict[str, int]]:
    counts = Counter(value for value in centre.values if value is not None)
    if options.reference is not None and options.reference not in counts:
        known = hint(options.reference, counts)
        raise UsageError(f"no row of '{centre.name}' is '{options.reference}'{known}")
    small = {name: count for name, count in sorted(counts.items()) if count < options.fewest}
    enough = sorted((name for name in counts if name not in small), key=lambda name: (-counts[name], name))
    reference = options.reference if options.reference is not None else (enough[0] if enough else "")
    others = [name for name in enough if name != reference]
    if reference not in enough or not others:
        raise UsageError(
            f"drift needs two values of '{centre.name}' with {options.fewest} rows or more, the reference "
            f"among them; got {dict(counts.most_common(5))}"
        )
    return reference, others, small


def _compared(
    column: Column,
    flags: Flags,
    groups: tuple[str, ...],
    centres: tuple[str, str],
    options: DriftOptions,
    seed: int,
) -> dict[str, Any]:
    other, reference = centres
    missing = column.missing
    stated: dict[str, Any] = {
        "variable": column.name,
        "centre": other,
        "missing": float(missing[flags].mean()),
        "missing_in_reference": float(missing[~flags].mean()),
    }
    found = compare_column(column, flags, groups, options, seed=seed)
    if isinstance(found, str):
        return {"stated": {**stated, "not_compared": found}, "row": None}
    difference, index, samples, count = found
    stated |= {
        "standardised_difference": finite(difference.standardised),
        "stability_index": finite(index),
        "statistic": finite(difference.statistic),
        "test": difference.test,
    }
    row = {
        "variable": column.name,
        "target": f"{options.centre}: {other} less {reference}",
        "test": difference.test,
        "effect": "standardised_difference",
        "value": difference.standardised,
        "low": difference.low,
        "high": difference.high,
        "level": options.level,
        "p_value": difference.p_value,
        "samples": samples,
        "groups": count,
    }
    return {"stated": stated, "row": row}


def _together(
    part: FeatureTable, flags: Flags, other: str, task: MiningTask, options: DriftOptions
) -> dict[str, Any]:
    fewest = min(
        len({group for group, flag in zip(part.groups, flags, strict=True) if flag == side})
        for side in (True, False)
    )
    name = f"roc_auc of telling {other} apart"
    if fewest < task.folds.outer:
        why = f"none: a centre has {fewest} patients for {task.folds.outer} folds"
        empty = Estimate(
            name,
            float("nan"),
            float("nan"),
            float("nan"),
            options.level,
            why,
            len(part),
            len(set(part.groups)),
        )
        return estimate_row(empty)
    seed = derived_seed(task.folds.seed, "apart", other)
    return estimate_row(tell_apart(part, flags, task.folds, level=options.level, seed=seed), name)


def _encoded(table: FeatureTable) -> tuple[Floats, list[bool]]:
    """Numbers as they are, categories as codes (the most frequent 200), missing as NaN."""
    columns, categorical = [], []
    for column in table.inputs:
        categorical.append(column.kind == "category")
        if column.kind == "number":
            columns.append(column.values.astype(np.float64))
            continue
        common = Counter(value for value in column.values if value is not None).most_common(200)
        codes = {name: float(place) for place, (name, _) in enumerate(common)}
        columns.append(np.array([codes.get(value, np.nan) for value in column.values]))
    return np.column_stack(columns), categorical
