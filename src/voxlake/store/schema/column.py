"""What a table and a column are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

__all__ = ["FLAG", "REAL", "REALS", "TEXT", "TEXTS", "TIME", "WHOLE", "WHOLES", "Column", "Table"]

TEXT = pa.string()
REAL = pa.float64()
WHOLE = pa.int64()
FLAG = pa.bool_()
TIME = pa.timestamp("us", tz="UTC")
REALS = pa.list_(pa.float64())
TEXTS = pa.list_(pa.string())
WHOLES = pa.list_(pa.int64())


@dataclass(frozen=True)
class Column:
    """One column.

    Parameters
    ----------
    name : str
        As in SQL.
    type : pyarrow.DataType
        As stored.
    description : str
        One line.
    tag : str
        DICOM keyword that the value is read from, or ``""``.
    unit : str
        Unit of a number, or ``""``.
    """

    name: str
    type: pa.DataType
    description: str
    tag: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """One table.

    Parameters
    ----------
    name, description : str
        As in SQL, and one line.
    key : tuple of str
        Columns that name a row. Two writers may append the same key; views show one row of it.
    columns : tuple of Column
        As stored.
    keep : str
        Which row of a key the view shows: ``"first"`` committed, or ``"last"`` where a row describes
        something that grows.
    """

    name: str
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    keep: Literal["first", "last"] = "first"
