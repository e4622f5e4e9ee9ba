"""Writing rows of several files of a table into fewer ones, with statistics and the versions of the rows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from voxlake.store.delta_log import DIGEST, MOVED, SEGMENTS
from voxlake.store.objects import Objects

__all__ = ["FileWriter", "plain_schema"]

# What DuckDB reads at once; also the unit in which a query leaves rows out by statistics.
_ROWS_PER_GROUP = 65_536
# As many columns as Delta Lake keeps statistics of.
_WITH_STATISTICS = 32
_LONGEST_TEXT = 128


def plain_schema(stored: pa.Schema) -> pa.Schema:
    """The same columns with the kinds of text and list that every reader of Parquet has."""
    return pa.schema([pa.field(one.name, _plain(one.type), one.nullable) for one in stored])


@dataclass
class _Statistics:
    """Smallest and largest value and number of nulls of one column."""

    low: Any = None
    high: Any = None
    nulls: int = 0

    def take(self, values: pa.ChunkedArray) -> None:
        self.nulls += values.null_count
        found = pc.min_max(values).as_py()
        if found["min"] is not None:
            self.low = found["min"] if self.low is None else min(self.low, found["min"])
            self.high = found["max"] if self.high is None else max(self.high, found["max"])


@dataclass
class FileWriter:
    """Writes one file of a table, row group by row group, and makes its `add` action.

    Parameters
    ----------
    objects : Objects
        Where the lake lies.
    folder : str
        Folder of the table.
    schema : pyarrow.Schema
        Columns.
    """

    objects: Objects
    folder: str
    schema: pa.Schema
    rows: int = 0
    moved: bool = False
    _segments: list[list[int]] = field(default_factory=list)
    _statistics: dict[str, _Statistics] = field(default_factory=dict)
    _waiting: list[pa.Table] = field(default_factory=list)
    _buffer: BytesIO = field(default_factory=BytesIO)
    _writer: pq.ParquetWriter | None = None

    @property
    def size(self) -> int:
        """Bytes written so far; what waits for its row group is not counted."""
        return self._buffer.tell()

    def add(self, rows: pa.Table, versions: list[tuple[int, int]]) -> None:
        """Add rows; (version, number of rows) in their order says when they came."""
        self.rows += len(rows)
        for version, count in versions:
            if self._segments and self._segments[-1][0] == version:
                self._segments[-1][1] += count
            else:
                self._segments.append([version, count])
        self._waiting.append(rows.cast(self.schema))
        if sum(map(len, self._waiting)) >= _ROWS_PER_GROUP:
            self._flush()

    def close(self) -> dict[str, Any]:
        """Store the file; returns its `add` action."""
        self._flush()
        if self._writer is not None:
            self._writer.close()
        data = self._buffer.getvalue()
        path = f"part-00000-{uuid4()}-c000.zstd.parquet"
        self.objects.put(f"{self.folder}/{path}", data)
        tags = {SEGMENTS: json.dumps(self._segments), DIGEST: sha256(data).hexdigest()}
        return {
            "path": path,
            "partitionValues": {},
            "size": len(data),
            "modificationTime": int(time.time() * 1000),
            "dataChange": False,
            "stats": json.dumps(self._stats()),
            "tags": {**tags, MOVED: "true"} if self.moved else tags,
        }

    def _flush(self) -> None:
        if not self._waiting:
            return
        rows = pa.concat_tables(self._waiting)
        self._waiting = []
        for name in self._with_statistics():
            self._statistics.setdefault(name, _Statistics()).take(rows[name])
        self._writer = self._writer or pq.ParquetWriter(self._buffer, self.schema, compression="zstd")
        self._writer.write_table(rows)

    def _with_statistics(self) -> Iterator[str]:
        for column in list(self.schema)[:_WITH_STATISTICS]:
            if not pa.types.is_nested(column.type):
                yield column.name

    def _stats(self) -> dict[str, Any]:
        lows = {name: _written(one.low) for name, one in self._statistics.items()}
        highs = {name: _written(one.high) for name, one in self._statistics.items()}
        return {
            "numRecords": self.rows,
            "minValues": {name: value for name, value in lows.items() if value is not None},
            "maxValues": {name: value for name, value in highs.items() if value is not None},
            "nullCount": {name: one.nulls for name, one in self._statistics.items()},
        }


def _written(value: Any) -> Any:
    """A bound as Delta Lake writes it; None for one that is too long to be of use."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        return None
    # Not a number has no order.
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124 - tells NaN


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_plain(kind.value_type))
    return kind
