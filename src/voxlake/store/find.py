"""What one UID names, and where the bytes of its instances lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from voxlake.store.query import run_sql
from voxlake.store.result import Result
from voxlake.store.tables import Tables
from voxlake.store.uid_index import UID_COLUMNS, Spot, UidIndex

__all__ = ["Found", "find_uid", "rows_of"]

Kind = Literal["instance", "series", "study"]
_COLUMNS = (
    "study_instance_uid", "series_instance_uid", "sop_instance_uid", "patient_id", "modality",
    "instance_number", "pack", "offset", "length", "sha256",
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What a UID names.

    Parameters
    ----------
    uid : str
        As asked for.
    kind : str
        ``"instance"``, ``"series"`` or ``"study"``.
    spots : tuple of Spot
        Where the bytes of its instances lie: pack, offset, length.
    """

    uid: str
    kind: Kind
    spots: tuple[Spot, ...]


def find_uid(tables: Tables, cache: Path, uid: str) -> Found | None:
    """Look up a SOP, series or study UID; None if no row has it.

    The index is made, or brought up to date, by the first call that needs it. Of one instance the index
    itself knows the place; the places of a series or study come from the few files that hold its rows.

    Parameters
    ----------
    tables : Tables
        Tables of the lake.
    cache : pathlib.Path
        Folder for caches of this lake on this machine.
    uid : str
        As in `instances`.
    """
    index = tables.uid_indexes.setdefault(cache, UidIndex(cache))
    index.sync(tables)
    spots = index.spots(uid)
    if len(spots) == 1:
        return Found(uid, "instance", (spots[0],))
    kind = "instance" if spots else index.kind(uid)
    if kind is None:
        return None
    # Rows that repeat a key, or are there under several policies, are told apart by the view.
    rows = rows_of(tables, cache, uid, cast("Kind", kind)).dicts()
    places = tuple(Spot(row["pack"], row["offset"], row["length"]) for row in rows)
    return Found(uid, cast("Kind", kind), places) if places else None


def rows_of(tables: Tables, cache: Path, uid: str, kind: Kind) -> Result:
    """The instances of a UID: identity and place."""
    column = next(name for name, kind_of in UID_COLUMNS.items() if kind_of == kind)
    names = ", ".join(f'"{name}"' for name in _COLUMNS)
    statement = f"select {names} from instances where {column} = ? order by 2, 6, 3"
    return run_sql(tables, statement, [uid], cache=cache)
