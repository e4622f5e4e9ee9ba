"""What a query gives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import pyarrow as pa
import pyarrow.compute as pc

from voxlake.core.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Result"]


class Result:
    """Rows of a query, in memory.

    Parameters
    ----------
    table : pyarrow.Table
        Columns as the database gives them; decimals become whole or floating-point numbers.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = _plain_numbers(table)

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self._table.column_names)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.rows())

    def __repr__(self) -> str:
        return f"Result({len(self)} rows: {', '.join(self.columns)})"

    def rows(self) -> list[tuple[Any, ...]]:
        """Rows as tuples of Python values; times are in UTC."""
        if not self._table.num_columns:
            return [()] * len(self)
        return list(zip(*(_values(column) for column in self._table.columns), strict=True))

    def dicts(self) -> list[dict[str, Any]]:
        """Rows as dictionaries; of columns with the same name the last one counts."""
        names = self.columns
        return [dict(zip(names, row, strict=True)) for row in self.rows()]

    def arrow(self) -> pa.Table:
        """The result as an Arrow table."""
        return self._table

    def df(self) -> pd.DataFrame:
        """The result as a pandas data frame."""
        frame: pd.DataFrame = self._table.to_pandas()
        return frame

    def write(
        self,
        path: str | Path,
        format: Literal["csv", "json", "parquet"],  # noqa: A002 - the word on the command line
    ) -> None:
        """Write the result to a file.

        Parameters
        ----------
        path : str or Path
            Where to; an existing file is replaced.
        format : str
            ``"csv"`` (lists and structures as JSON), ``"json"`` (a list of records) or ``"parquet"``.

        Raises
        ------
        UsageError
            The format is unknown, or two columns have the same name.
        """
        if len(set(self.columns)) != len(self.columns):
            raise UsageError("two columns of the result have the same name; name them with 'as'")
        match format:
            case "csv":
                # Needed here only, and slow to import.
                import pyarrow.csv as arrow_csv

                arrow_csv.write_csv(_flat(self._table), str(path))
            case "json":
                text = json.dumps(self.dicts(), default=_json_value, ensure_ascii=False, indent=1)
                Path(path).write_text(text + "\n", encoding="utf-8")
            case "parquet":
                import pyarrow.parquet as arrow_parquet  # needed here only, and slow to import

                arrow_parquet.write_table(self._table, str(path), compression="zstd")
            case _:
                raise UsageError(f"a result is written as csv, json or parquet, not as '{format}'")


def _plain_numbers(table: pa.Table) -> pa.Table:
    # DuckDB sums whole numbers into 128 bits, which arrive as decimals and break JSON and pandas.
    for place, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            column = _number(table.column(place), field.type.scale)
            table = table.set_column(place, field.name, column)
    return table


def _values(column: pa.ChunkedArray) -> list[Any]:
    # PyArrow loads pandas, for most of a second, to name the time zone of a single value.
    if not pa.types.is_timestamp(column.type) or column.type.tz is None:
        return cast("list[Any]", column.to_pylist())
    naive = column.cast(pa.timestamp(column.type.unit)).to_pylist()
    return [None if value is None else value.replace(tzinfo=UTC) for value in naive]


def _number(column: pa.ChunkedArray, scale: int) -> pa.ChunkedArray:
    if scale == 0:
        try:
            return column.cast(pa.int64())
        except pa.ArrowInvalid:
            return column.cast(pa.float64())
    return column.cast(pa.float64())


def _flat(table: pa.Table) -> pa.Table:
    for place, field in enumerate(table.schema):
        if pa.types.is_nested(field.type) or pa.types.is_binary(field.type):
            texts = [
                None if value is None else json.dumps(value, default=_json_value, ensure_ascii=False)
                for value in table.column(place).to_pylist()
            ]
            table = table.set_column(place, field.name, pa.array(texts, pa.string()))
        elif pa.types.is_dictionary(field.type):
            table = table.set_column(place, field.name, pc.cast(table.column(place), field.type.value_type))
    return table


def _json_value(value: object) -> str:
    match value:
        case datetime() | date() | time():
            return value.isoformat()
        case bytes():
            return value.hex()
        case _:
            return str(value)
