"""Mining of kind association: every variable against the target, corrected for the number of tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import SettingsError, UsageError
from voxlake.core.hints import hint
from voxlake.learning.mining import MiningTask
from voxlake.learning.tables.association import Finding, Untested, Variable, relate
from voxlake.learning.tables.figures import finite, fitted_on
from voxlake.learning.tables.kinds import Tick
from voxlake.learning.tables.options import AssociationOptions, options_as
from voxlake.learning.tables.rates import discovery_rates
from voxlake.learning.tables.result import Mined
from voxlake.learning.tables.table import Column, FeatureTable

__all__ = ["associate", "mine_associate", "variables_of"]

# More levels than this make a category an identifier rather than a variable.
_MOST_LEVELS = 30


def mine_associate(table: FeatureTable, task: MiningTask, tick: Tick) -> Mined:
    """Test every input of a table against its target.

    Raises
    ------
    UsageError
        The table has no target, or nothing can be tested.
    """
    options = options_as(task.settings, AssociationOptions)
    if task.prepare.harmonise is not None:
        raise SettingsError(
            "an association is tested on the values as they are; leave [prepare] harmonise out"
        )
    findings, untested, targets = associate(
        table, options, classes=task.classes, positive=task.positive, tick=tick
    )
    rates = discovery_rates([one.p_value for one in findings])
    rows = tuple(
        {**vars(one), "level": options.level, "q_value": float(rate)}
        for one, rate in zip(findings, rates, strict=True)
    )
    called = sum(1 for rate in rates if rate <= 1 - options.level)
    return Mined(
        kind="association",
        folds=fitted_on(len(table)),
        results={
            "tests": len(rows),
            "called": called,
            "rate": 1 - options.level,
            "targets": targets,
            "adjusted_for": list(options.adjust),
            "untested": [vars(one) for one in untested],
            "estimates": [_estimate(row) for row in _strongest(rows)],
        },
        associations=rows,
    )


def associate(
    table: FeatureTable,
    options: AssociationOptions,
    *,
    classes: Sequence[str] | None = None,
    positive: str | None = None,
    tick: Tick | None = None,
) -> tuple[list[Finding], list[Untested], list[str]]:
    """Test every input of a table against its target.

    A category is tested level by level, each against all others; of two levels the second in order, and of a
    target with two classes the positive one.

    Parameters
    ----------
    table : FeatureTable
        Inputs, a target, patients, and the columns that are adjusted for.
    options : AssociationOptions
        How.
    classes : sequence of str, optional
        Classes of the target; rows of others do not count.
    positive : str, optional
        The class of two that is tested; the last one if absent.
    tick : callable, optional
        Called with the name of each column that is done.

    Returns
    -------
    findings : list of Finding
        In the order of the columns.
    untested : list of Untested
        What could not be tested.
    targets : list of str
        What was tested against.

    Raises
    ------
    UsageError
        There is no target, or nothing could be tested.
    """
    if table.target is None:
        raise UsageError("an association needs a target: name a column of the table, or a label")
    targets = _targets(table.target, classes, positive)
    covariates = [each for name in options.adjust for each in _covariates(table, name)]
    apart = set(options.adjust)
    findings: list[Finding] = []
    untested: list[Untested] = []
    for column in table.inputs:
        if column.name in apart:
            continue
        variables = variables_of(column)
        if not variables:
            untested.append(Untested(column.name, table.target.name, _useless(column)))
        for variable in variables:
            for target in targets:
                found = relate(variable, target, table.groups, options, covariates)
                if isinstance(found, Finding):
                    findings.append(found)
                else:
                    untested.append(found)
        if tick is not None:
            tick(column.name)
    if not findings:
        said = f": {untested[0].variable}: {untested[0].reason}" if untested else ""
        raise UsageError(f"none of {len(table.inputs)} variables could be tested{said}")
    return findings, untested, [target.name for target in targets]


def variables_of(column: Column) -> list[Variable]:
    """A number as it is; a category level by level, of two levels the second; nothing of one with over 30."""
    if column.kind == "number":
        return [Variable(column.name, column.values, binary=False)]
    levels = sorted({value for value in column.values if value is not None})
    if not 2 <= len(levels) <= _MOST_LEVELS:
        return []
    return [_level(column, level) for level in (levels[1:] if len(levels) == 2 else levels)]


def _level(column: Column, level: str) -> Variable:
    values = np.array([np.nan if value is None else float(value == level) for value in column.values])
    return Variable(f"{column.name}={level}", values, binary=True)


def _useless(column: Column) -> str:
    levels = len({value for value in column.values if value is not None})
    return f"the category has {levels} levels; 2 to {_MOST_LEVELS} can be tested"


def _targets(column: Column, classes: Sequence[str] | None, positive: str | None) -> list[Variable]:
    if column.kind == "number" and classes is None:
        return [Variable(column.name, column.values, binary=False)]
    texts = column.as_category()
    known = sorted({value for value in texts.values if value is not None})
    used = list(classes) if classes is not None else known
    for name in (*used, *(() if positive is None else (positive,))):
        if name not in known:
            raise UsageError(f"the target '{column.name}' is never '{name}'{hint(name, known)}")
    kept = np.empty(len(texts), dtype=object)
    kept[:] = [value if value in used else None for value in texts.values]
    limited = Column(column.name, "category", kept, column.source)
    if len(used) == 2:
        used = [positive if positive is not None else used[-1]]
    return [_level(limited, each) for each in used]


def _covariates(table: FeatureTable, name: str) -> list[NDArray[np.float64]]:
    column = table.column(name)
    if column.kind == "number":
        spread = float(np.nanstd(column.values)) or 1.0
        return [(column.values - np.nanmean(column.values)) / spread]
    levels = sorted({value for value in column.values if value is not None})
    return [_level(column, level).values for level in levels[1:]]


def _strongest(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(rows, key=lambda row: (row["q_value"], row["p_value"]))[:20]


def _estimate(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": f"{row['effect']}: {row['variable']} with {row['target']}",
        **{name: finite(row[name]) for name in ("value", "low", "high", "level")},
        "method": f"{row['test']}, q = {row['q_value']:.3g}",
        "samples": row["samples"],
        "groups": row["groups"],
    }
