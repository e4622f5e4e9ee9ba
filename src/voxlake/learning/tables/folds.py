"""Outer and inner folds of a table, and the audit that stops a run whose parts are not apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from voxlake.core.errors import LeakageError
from voxlake.lake.splits import assign_folds, check_leakage
from voxlake.learning.seeds import derived_seed
from voxlake.learning.tables.result import TableFold
from voxlake.learning.tables.settings import FoldSettings
from voxlake.learning.tables.table import Column, FeatureTable

__all__ = ["audit", "inner_folds", "make_folds", "strata_of"]

_QUANTILES = 5


def make_folds(table: FeatureTable, strata: Sequence[str], settings: FoldSettings) -> tuple[TableFold, ...]:
    """Outer folds: every row is tested once, and no group stands on two sides.

    Parameters
    ----------
    table : FeatureTable
        The rows.
    strata : sequence of str
        (N,), what is spread evenly; see `strata_of`.
    settings : FoldSettings
        How many, and the seed.

    Raises
    ------
    UsageError
        There are fewer groups of a stratum than folds.
    LeakageError
        A patient, a study or an image stands in two parts.
    """
    fold_of = np.array(assign_folds(table.groups, strata, settings.outer, seed=settings.seed))
    folds = tuple(
        TableFold(
            train=tuple(np.flatnonzero(fold_of != number).tolist()),
            validation=(),
            test=tuple(np.flatnonzero(fold_of == number).tolist()),
        )
        for number in range(settings.outer)
    )
    audit(table, folds)
    return folds


def inner_folds(
    table: FeatureTable, rows: Sequence[int], strata: Sequence[str], settings: FoldSettings, *, fold: int
) -> tuple[TableFold, ...]:
    """Inner folds of the training rows of an outer fold: ``test`` is what chooses.

    Parameters
    ----------
    table : FeatureTable
        All rows.
    rows : sequence of int
        Positions of the training rows.
    strata : sequence of str
        (N,), of all rows.
    settings : FoldSettings
        How many, and the seed.
    fold : int
        Number of the outer fold, -1 for the final model: each draws inner folds of its own.
    """
    places = np.asarray(rows, dtype=np.int64)
    fold_of = np.array(
        assign_folds(
            [table.groups[place] for place in places],
            [strata[place] for place in places],
            settings.inner,
            seed=derived_seed(settings.seed, "inner", fold),
        )
    )
    folds = tuple(
        TableFold(
            train=tuple(places[fold_of != number].tolist()),
            validation=(),
            test=tuple(places[fold_of == number].tolist()),
        )
        for number in range(settings.inner)
    )
    audit(table, folds)
    return folds


def strata_of(table: FeatureTable, settings: FoldSettings, *, batch: Column | None = None) -> list[str]:
    """What folds spread evenly: the classes of the target, or equal shares of its range.

    With a batch (of ComBat) each class is spread within each batch as well, where every such stratum has a
    group for each fold.

    Returns
    -------
    list of str
        (N,).
    """
    if not settings.stratify or table.target is None:
        strata = ["all"] * len(table)
    elif table.target.kind == "category":
        strata = [str(value) for value in table.target.values]
    else:
        strata = _quantiles(table, table.target, settings)
    if batch is None:
        return strata
    both = [
        f"{stratum} in {value}" for stratum, value in zip(strata, batch.as_category().values, strict=True)
    ]
    groups = Counter(stratum for _, stratum in set(zip(table.groups, both, strict=True)))
    return both if min(groups.values()) > max(settings.outer, settings.inner) else strata


def audit(table: FeatureTable, folds: Sequence[TableFold]) -> dict[str, Any]:
    """Check that no group, patient, study or image stands in two parts of a fold.

    Near-duplicates count as far as they are among the contents of the table.

    Returns
    -------
    dict
        What was found of each kind (zeros), and how many digests of contents were compared.

    Raises
    ------
    LeakageError
        Names the parts and what they share.
    """
    for fold in folds:
        parts = {part: where for part, where in vars(fold).items() if where}
        check_leakage(
            {
                part: [(table.groups[place], table.contents[place]) for place in where]
                for part, where in parts.items()
            }
        )
        for what, names in (("patients", table.patients), ("studies", table.studies)):
            _apart(what, {part: {names[place] for place in where} for part, where in parts.items()})
    digests = {digest for made_from in table.contents for digest in made_from}
    return {"patients": 0, "studies": 0, "contents": 0, "digests_compared": len(digests)}


def _apart(what: str, parts: dict[str, set[str | None]]) -> None:
    names = sorted(parts)
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            shared = sorted(str(one) for one in parts[first] & parts[second] if one is not None)
            if shared:
                raise LeakageError(
                    f"{len(shared)} {what} stand both in '{first}' and in '{second}' (for example "
                    f"{shared[0][:16]}): group the rows by patient"
                )


def _quantiles(table: FeatureTable, target: Column, settings: FoldSettings) -> list[str]:
    """Strata of equally many groups, by the mean of the target in the group."""
    values: dict[str, list[float]] = {}
    for group, value in zip(table.groups, target.values, strict=True):
        values.setdefault(group, []).append(float(value))
    order = sorted(values, key=lambda group: (float(np.mean(values[group])), group))
    # Inner folds see a part of the groups only; each stratum must still have one for every fold.
    strata = max(1, min(_QUANTILES, len(order) // (4 * max(settings.outer, settings.inner))))
    stratum_of = {group: str(place * strata // len(order)) for place, group in enumerate(order)}
    return [stratum_of[group] for group in table.groups]
