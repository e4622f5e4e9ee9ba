"""Tables from arrays and data frames, without a lake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.core.hints import hint
from voxlake.lake.splits import join_groups
from voxlake.learning.tables.table import Column, FeatureTable

__all__ = ["column_from", "table_from_arrays", "table_from_frame"]


def column_from(name: str, values: ArrayLike, *, category: bool = False, source: str = "given") -> Column:
    """A column from any values.

    Numbers stay numbers unless `category`; truth values are 0 and 1, as a category ``"False"`` and
    ``"True"``. Everything else is a category; None, NaN and ``""`` are missing.

    Raises
    ------
    UsageError
        The values are not one-dimensional.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise UsageError(f"column '{name}' needs one value for each row, got shape {array.shape}")
    if array.dtype.kind == "O" and all(_numeric(value) for value in array) and not category:
        array = np.array([np.nan if value is None else float(value) for value in array])
    if array.dtype.kind in "biuf" and not category:
        numbers = array.astype(np.float64)
        return Column(name, "number", np.where(np.isfinite(numbers), numbers, np.nan), source)
    texts = np.empty(len(array), dtype=object)
    texts[:] = [_text(value) for value in array.tolist()]
    return Column(name, "category", texts, source)


def table_from_arrays(
    values: ArrayLike | Mapping[str, ArrayLike],
    *,
    target: ArrayLike | None = None,
    groups: Sequence[str] | None = None,
    subjects: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    asides: Mapping[str, ArrayLike] | None = None,
    categories: Sequence[str] = (),
    contents: Sequence[Sequence[str]] | None = None,
) -> FeatureTable:
    """A table from arrays.

    Parameters
    ----------
    values : array-like (N, P) of numbers, or mapping of name to (N,)
        The variables.
    target : array-like (N,), optional
        What is to be learned: numbers, or anything else for classes.
    groups : sequence of str, optional
        (N,), patients; without it each row is its own group.
    subjects : sequence of str, optional
        (N,), unique names of the rows; numbers from 0 if absent.
    names : sequence of str, optional
        (P,), names of the columns of an array.
    asides : mapping of name to (N,), optional
        Columns that are carried along.
    categories : sequence of str
        Columns that are categories although they are numbers.
    contents : sequence of sequences of str, optional
        (N,), digests of what each row was made from: groups that share one are joined.

    Raises
    ------
    UsageError
        Shapes or names do not fit together.
    """
    columns = values if isinstance(values, Mapping) else _named(values, names)
    if not columns:
        raise UsageError("the table has no columns; give one variable or more")
    inputs = tuple(column_from(name, one, category=name in categories) for name, one in columns.items())
    rows = len(inputs[0])
    made_from = [tuple(one) for one in contents] if contents is not None else [()] * rows
    keys = [str(one) for one in subjects] if subjects is not None else [str(one) for one in range(rows)]
    given = [str(one) for one in groups] if groups is not None else keys
    if not rows == len(keys) == len(given) == len(made_from):
        raise UsageError(
            f"{rows} rows, {len(keys)} subjects, {len(given)} groups and {len(made_from)} contents: "
            "give one of each for every row"
        )
    return FeatureTable(
        level="row",
        subjects=tuple(keys),
        patients=tuple(given) if groups is not None else (None,) * rows,
        studies=(None,) * rows,
        groups=tuple(join_groups(given, made_from)),
        grouped_by="row" if groups is None else "patient",
        contents=tuple(made_from),
        inputs=inputs,
        target=None if target is None else column_from("target", target, category="target" in categories),
        asides={
            name: column_from(name, one, category=name in categories) for name, one in (asides or {}).items()
        },
    )


def table_from_frame(
    frame: Any,
    *,
    target: str | None = None,
    patient: str | None = None,
    subject: str | None = None,
    asides: Sequence[str] = (),
    categories: Sequence[str] = (),
) -> FeatureTable:
    """A table from a data frame of pandas, or a table of PyArrow; see `table_from_arrays`.

    Parameters
    ----------
    frame : pandas.DataFrame or pyarrow.Table
        The values.
    target, patient, subject : str, optional
        Names of these columns.
    asides : sequence of str
        Columns that are carried along.
    categories : sequence of str
        Columns that are categories although they are numbers.

    Raises
    ------
    NotFoundError
        There is no such column; a near miss is named.
    """
    columns = _columns_of(frame)
    for name in (target, patient, subject, *asides, *categories):
        if name is not None and name not in columns:
            raise NotFoundError(f"the table has no column '{name}'{hint(name, columns)}")
    apart = {target, patient, subject, *asides}
    table = table_from_arrays(
        {name: one for name, one in columns.items() if name not in apart},
        groups=None if patient is None else [str(one) for one in columns[patient]],
        subjects=None if subject is None else [str(one) for one in columns[subject]],
        asides={name: columns[name] for name in asides},
        categories=categories,
    )
    if target is None:
        return table
    return table.with_target(column_from(target, columns[target], category=target in categories))


def _columns_of(frame: Any) -> dict[str, NDArray[Any]]:
    if hasattr(frame, "column_names"):
        return {str(name): np.array(frame[name].to_pylist(), dtype=object) for name in frame.column_names}
    return {str(name): np.asarray(frame[name].to_numpy()) for name in frame.columns}


def _named(values: ArrayLike, names: Sequence[str] | None) -> dict[str, NDArray[Any]]:
    array = np.asarray(values)
    if array.ndim != 2:
        raise UsageError(f"variables must be an array (rows, columns), got shape {array.shape}")
    called = list(names) if names is not None else [f"x{place}" for place in range(array.shape[1])]
    if len(set(called)) != array.shape[1] or len(called) != array.shape[1]:
        raise UsageError(f"{array.shape[1]} columns need as many different names, got {len(called)}")
    return {name: array[:, place] for place, name in enumerate(called)}


def _numeric(value: object) -> bool:
    return value is None or (isinstance(value, int | float | np.integer | np.floating))


def _text(value: object) -> str | None:
    if value is None or value == "" or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
