"""The verb sql."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from voxlake.lake.lake import Lake
from voxlake.store.query import Result

__all__ = ["sql"]


def sql(lake: Lake, statement: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> Result:
    """Query the lake's tables and views; nothing else can be read and nothing can be changed.

    Parameters
    ----------
    lake : Lake
        The lake; no key is needed.
    statement : str
        One SELECT (DuckDB's SQL). Tables: instances, series, labels, cohorts, ...; views: patients,
        studies and cohort_<name>.
    parameters : sequence or mapping, optional
        Values for ``?`` or ``$name``.

    Returns
    -------
    Result
        With ``.df()``, ``.arrow()``, ``.rows()`` and ``.dicts()``.

    Raises
    ------
    QueryError
        The statement is wrong, is no SELECT, or reaches outside the lake.

    Examples
    --------
    >>> sql(lake, "select modality, count(*) from series group by 1").df()  # doctest: +SKIP
    """
    return lake.sql(statement, parameters)
