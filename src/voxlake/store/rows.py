"""Plain rows become Arrow tables, checked against the columns of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from voxlake.core.errors import LakeError
from voxlake.core.hints import hint

__all__ = ["rows_to_arrow", "write_schema"]

LATER = b"later"


def write_schema(name: str, wanted: pa.Schema, stored: pa.Schema | None) -> pa.Schema:
    """The columns to write: those of this version of voxlake and those that are stored already.

    Columns that the stored table does not have yet are marked in their metadata, by which readers know
    that older files lack them. Columns that only a newer version knows are kept and filled with null.

    Raises
    ------
    LakeError
        A stored column has another type.
    """
    if stored is None:
        return wanted
    fields = []
    for field in wanted:
        place = stored.get_field_index(field.name)
        if place < 0:
            fields.append(field.with_metadata({**(field.metadata or {}), b"added": LATER}))
        elif not _same_type(stored.field(place).type, field.type):
            raise LakeError(
                f"column '{field.name}' of table '{name}' is stored as {stored.field(place).type}, but this "
                f"version of voxlake writes {field.type}; use the version that made the lake"
            )
        else:
            fields.append(field.with_metadata(stored.field(place).metadata))
    return pa.schema([*fields, *(field for field in stored if field.name not in wanted.names)])


def rows_to_arrow(name: str, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Make an Arrow table of rows.

    Parameters
    ----------
    name : str
        Name of the table, for messages.
    rows : sequence of mapping
        Column name to value; missing columns become null, `committed_at` becomes now.
    schema : pyarrow.Schema
        Columns of the table.

    Raises
    ------
    LakeError
        A column is unknown (the near miss is named) or a value does not fit its column.
    """
    known = set(schema.names)
    unknown = sorted({str(column) for row in rows for column in row.keys() - known})
    if unknown:
        raise LakeError(f"table '{name}' has no column '{unknown[0]}'{hint(unknown[0], known)}")
    now = datetime.now(UTC)
    arrays = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        if field.name == "committed_at":
            values = [now if value is None else value for value in values]
        arrays.append(_array(name, field, values))
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(name: str, field: pa.Field, values: list[Any]) -> pa.Array:
    try:
        # Arrow cuts 1.5 down to 1 without a word.
        if not pa.types.is_integer(field.type) or all(map(_is_whole, values)):
            return pa.array(values, field.type)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        # Its message is dropped: it quotes the value, which may be a patient's.
        pass
    found = sorted({type(value).__name__ for value in values if value is not None})
    raise LakeError(
        f"column '{field.name}' of table '{name}' takes {field.type}; "
        f"a value does not fit (types given: {', '.join(found)})"
    )


def _is_whole(value: Any) -> bool:
    return value is None or isinstance(value, int) or float(value).is_integer()


def _same_type(stored: pa.DataType, wanted: pa.DataType) -> bool:
    # Delta names the field of a list "element", Arrow "item".
    if pa.types.is_list(stored) and pa.types.is_list(wanted):
        return bool(stored.value_type == wanted.value_type)
    return bool(stored == wanted)
