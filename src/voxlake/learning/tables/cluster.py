"""Mining of kind clustering: groups of rows, how distinct and how stable they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import UsageError
from voxlake.learning.mining import MiningTask
from voxlake.learning.seeds import derived_seed
from voxlake.learning.tables.figures import estimate_row, finite, fitted_on
from voxlake.learning.tables.grouping import Grouping, fit_grouping
from voxlake.learning.tables.kinds import ModelParts, Tick
from voxlake.learning.tables.options import ClusterOptions, options_as
from voxlake.learning.tables.placing import Placing, fit_components
from voxlake.learning.tables.prepare import Preparation, fit_preparation
from voxlake.learning.tables.result import Mined, Predicted
from voxlake.learning.tables.table import FeatureTable
from voxlake.metrics.clustering import adjusted_rand_estimate, silhouette_estimate, silhouette_samples
from voxlake.metrics.stability import cluster_stability

__all__ = ["mine_cluster", "speak"]

Floats: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.int64]

_FILE = "clusters.json"
_PROFILE = 10


def mine_cluster(table: FeatureTable, task: MiningTask, tick: Tick) -> Mined:
    """Group the rows of a table.

    The silhouettes are those of the rows that made the groups; how far the groups would come again with
    other patients is what the stability says. With a target the agreement of groups and classes is stated; it
    has no influence on the groups.

    Raises
    ------
    UsageError
        There are too few rows, or no variable varies.
    """
    options = options_as(task.settings, ClusterOptions)
    seed = derived_seed(task.folds.seed, "cluster")
    preparation = fit_preparation(table, task.prepare)
    matrix = preparation.apply(table)
    placing = None if options.components is None else fit_components(matrix, options.components)
    values = matrix if placing is None else placing.apply(matrix)
    rows = _some(len(values), options.silhouette_rows, seed)
    grouping, tried = _choose(values, rows, options, seed, tick)
    found = grouping.assign(values)
    names = tuple(f"cluster {each + 1}" for each in range(len(grouping)))
    stored = {
        "grouping": grouping.to_dict(),
        "preparation": preparation.to_dict(),
        "placing": None if placing is None else placing.to_dict(),
    }
    estimates = _estimates(table, values, found, rows, grouping, options, seed)
    tick("stability")
    return Mined(
        kind="clustering",
        classes=names,
        predicted=(
            Predicted(
                "fit",
                -1,
                np.arange(len(table), dtype=np.int64),
                assigned=tuple(names[each] for each in found),
            ),
        ),
        folds=fitted_on(len(table)),
        results={
            "method": grouping.method,
            "clusters": _clusters(table, matrix, found, names, preparation.names),
            "tried": tried,
            "silhouette_rows": len(rows),
            "variables": len(preparation.names),
            "estimates": estimates,
        },
        artefacts={_FILE: json.dumps(stored).encode()},
        parameters=int(grouping.centres.size),
    )


def speak(parts: ModelParts, task: MiningTask, table: FeatureTable) -> Predicted:
    """Put other rows into the groups.

    Raises
    ------
    UsageError
        A column is missing or of another kind.
    """
    options_as(task.settings, ClusterOptions)
    stored = json.loads(parts.get(_FILE))
    values = Preparation.from_dict(stored["preparation"]).apply(table)
    if stored["placing"] is not None:
        values = Placing.from_dict(stored["placing"]).apply(values)
    found = Grouping.from_dict(stored["grouping"]).assign(values)
    assigned = tuple(f"cluster {each + 1}" for each in found)
    return Predicted("new", -1, np.arange(len(table), dtype=np.int64), assigned=assigned)


def _choose(
    values: Floats, rows: Labels, options: ClusterOptions, seed: int, tick: Tick
) -> tuple[Grouping, list[dict[str, Any]]]:
    """The grouping, and the mean silhouette of every number of groups that was tried."""
    if options.clusters is not None:
        numbers: Sequence[int] = (options.clusters,)
    else:
        most = min(options.largest, len(np.unique(values, axis=0)) - 1)
        numbers = range(options.smallest, most + 1)
    if not numbers:
        raise UsageError(f"{len(values)} rows are too few to make {options.smallest} groups or more of them")
    made: list[tuple[float, Grouping]] = []
    for number in numbers:
        grouping = fit_grouping(values, number, method=options.method, seed=seed)
        found = grouping.assign(values)[rows]
        distinct = len(np.unique(found)) > 1
        made.append((float(silhouette_samples(values[rows], found).mean()) if distinct else -1.0, grouping))
        tick(f"{number} clusters")
    tried = [
        {"clusters": number, "silhouette": finite(silhouette)}
        for number, (silhouette, _) in zip(numbers, made, strict=True)
    ]
    return max(made, key=lambda one: one[0])[1], tried


def _estimates(
    table: FeatureTable,
    values: Floats,
    found: Labels,
    rows: Labels,
    grouping: Grouping,
    options: ClusterOptions,
    seed: int,
) -> list[dict[str, Any]]:
    groups = np.array(table.groups)

    def again(drawn: Floats, number: int) -> Labels:
        # A part of the patients may hold fewer different rows than there are groups.
        clusters = min(len(grouping), len(np.unique(drawn, axis=0)))
        return fit_grouping(drawn, clusters, method=options.method, seed=number).assign(drawn)

    figures = []
    if len(np.unique(found[rows])) > 1:
        figures.append(
            silhouette_estimate(values[rows], found[rows], groups=groups[rows], level=options.level)
        )
    figures.append(
        cluster_stability(
            again,
            values,
            groups=groups,
            draws=options.subsamples,
            share=options.share,
            level=options.level,
            seed=seed % 2**32,
        )
    )
    if table.target is not None:
        target = table.target.as_category()
        known = np.flatnonzero(~target.missing)
        figures.append(
            adjusted_rand_estimate(
                target.values[known].astype(str),
                found[known],
                groups=groups[known],
                replicates=options.replicates,
                level=options.level,
                seed=seed % 2**32,
            )
        )
    return [estimate_row(each) for each in figures]


def _clusters(
    table: FeatureTable, matrix: Floats, found: Labels, names: Sequence[str], variables: Sequence[str]
) -> list[dict[str, Any]]:
    """Size of each group, and the variables by which it stands out, in deviations of all rows."""
    middle, spread = matrix.mean(axis=0), matrix.std(axis=0)
    groups = np.array(table.groups)
    described = []
    for each, name in enumerate(names):
        inside = found == each
        away = (matrix[inside].mean(axis=0) - middle) / spread if inside.any() else np.zeros(len(middle))
        first = np.argsort(-np.abs(away), kind="stable")[:_PROFILE]
        described.append(
            {
                "name": name,
                "rows": int(inside.sum()),
                "groups": len(np.unique(groups[inside])),
                "stands_out": [{"variable": variables[one], "deviations": float(away[one])} for one in first],
                "target": _shares(table, inside),
            }
        )
    return described


def _shares(table: FeatureTable, inside: NDArray[np.bool_]) -> dict[str, int] | None:
    if table.target is None or table.target.kind == "number":
        return None
    values, counts = np.unique(
        [value for value in table.target.values[inside] if value is not None], return_counts=True
    )
    return {str(value): int(count) for value, count in zip(values, counts, strict=True)}


def _some(count: int, most: int, seed: int) -> Labels:
    """All positions, or as many drawn ones as silhouettes are computed of."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))
