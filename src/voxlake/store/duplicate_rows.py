"""Rows whose key several writers committed: which one the views show, and where the others lie."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from voxlake.core.errors import LakeError
from voxlake.store.schema import TABLES
from voxlake.store.sql_text import literal, quoted
from voxlake.store.tables import Tables

__all__ = ["Place", "Repeated", "find_repeated"]

Place = tuple[str, int]


@dataclass(frozen=True)
class Repeated:
    """Rows of one key.

    Parameters
    ----------
    shown : tuple of (str, int)
        File name and row number (from 0) of the row that the views show.
    hidden : tuple of (str, int)
        The others.
    """

    shown: Place
    hidden: tuple[Place, ...]


def find_repeated(tables: Tables, name: str) -> list[Repeated]:
    """Keys of a table that have several rows, by the very order by which the views choose one.

    Raises
    ------
    LakeError
        The files cannot be read.
    """
    files = tables.files(name)
    if not files:
        return []
    key = ", ".join(quoted(column) for column in TABLES[name].key)
    way = "DESC" if TABLES[name].keep == "last" else "ASC"
    listed = ", ".join(map(literal, files))
    by_name = "true" if tables.evolved(name) else "false"
    scan = f"read_parquet([{listed}], union_by_name={by_name}, filename=true, file_row_number=true)"
    # The hash of the key alone is quick over many rows; what only collides is told apart by the key itself.
    statement = f"""
        WITH several AS (SELECT hash({key}) AS place FROM {scan} GROUP BY place HAVING count(*) > 1),
        candidates AS (
            SELECT filename, file_row_number,
                row_number() OVER (PARTITION BY {key} ORDER BY committed_at {way}, filename, file_row_number)
                    AS position,
                dense_rank() OVER (ORDER BY {key}) AS number
            FROM {scan} WHERE hash({key}) IN (SELECT place FROM several)
        )
        SELECT number, position, filename, file_row_number FROM candidates ORDER BY number, position
    """
    try:
        with duckdb.connect(":memory:", config={"autoinstall_known_extensions": False}) as connection:
            rows = connection.execute(statement).fetchall()
    except duckdb.Error as error:
        raise LakeError(f"the files of table '{name}' cannot be read; run `voxlake verify`") from error
    groups: dict[int, list[Place]] = {}
    for number, _, file, row in rows:
        groups.setdefault(number, []).append((str(file).rpartition("/")[2], int(row)))
    return [Repeated(places[0], tuple(places[1:])) for places in groups.values() if len(places) > 1]
