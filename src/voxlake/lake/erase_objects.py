"""Objects of an erasure: what others share with the patient is written anew, the rest is deleted.

Nothing is changed where it lies: a new pack or stack without the patient is written first, then the rows
are re-pointed, then the old object is deleted. Whatever is stopped in between can be done again.
"""

from __future__ import annotations

import contextlib
import shutil
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from voxlake.core.digest import digest_many
from voxlake.core.errors import NotFoundError
from voxlake.lake.erase_names import equals_any
from voxlake.lake.erase_plan import Plan, reference_columns, referenced
from voxlake.lake.erase_rows import Moves, Removal
from voxlake.lake.lake import Lake
from voxlake.store.arrays import open_array, read_attributes, read_stack_items, write_stack
from voxlake.store.packs import read_members, write_pack
from voxlake.store.rewrite import raw_rows
from voxlake.store.schema import TABLES

__all__ = ["delete_folder", "delete_object", "delete_unreferenced", "write_moves"]

_STACK_COLUMNS = ("array", "position", "shards")
# What an array says of itself, which is made anew.
_MADE_ANEW = frozenset({"kind", "sha256", "shards"})


def write_moves(lake: Lake, plan: Plan) -> Moves:
    """Write packs and stacks without the patient, for rows of others that share one with the patient."""
    packs: dict[tuple[str, int], tuple[str, int]] = {}
    for pack, members in _sharing(lake, plan, ("instances",), "pack", plan.packs).items():
        ranges = sorted({(row["offset"], row["length"]) for row in members})
        digests = {(row["offset"], row["length"]): row["sha256"] for row in members}
        blobs = read_members(lake.objects, pack, ranges, sha256=[digests[one] for one in ranges])
        for (offset, _), entry in zip(ranges, write_pack(lake.objects, blobs), strict=True):
            packs[pack, offset] = (entry.pack, entry.offset)
    stacks: dict[tuple[str, int], tuple[str, int, int]] = {}
    tables = tuple(
        name for name, table in TABLES.items() if set(_STACK_COLUMNS) <= {c.name for c in table.columns}
    )
    for array, rows in _sharing(lake, plan, tables, "array", plan.arrays).items():
        positions = sorted({row["position"] for row in rows if row["position"] is not None})
        if positions:
            shards = next(row["shards"] for row in rows if row["position"] is not None)
            stacks |= _restack(lake, array, positions, shards)
    return Moves(packs, stacks)


def delete_unreferenced(lake: Lake) -> None:
    """Delete packs and arrays that no row names.

    A run that was killed leaves such objects behind, and they may hold anybody.
    """
    named: set[str] = set()
    for table in TABLES:
        if not reference_columns(table):
            continue
        for rows in raw_rows(lake.tables, table, reference_columns(table)):
            named |= referenced(table, rows)
    for path in sorted(set(lake.objects.list("packs")) - named):
        delete_object(lake, path)
    arrays = {"/".join(path.split("/")[:2]) for path in lake.objects.list("arrays")}
    for array in sorted(arrays - named):
        delete_folder(lake, array)


def delete_object(lake: Lake, path: str) -> None:
    """Delete an object that may be gone already."""
    with contextlib.suppress(NotFoundError):
        lake.objects.delete(path)


def delete_folder(lake: Lake, name: str) -> None:
    """Delete all objects of a folder, some of which may be gone already."""
    for path in sorted(lake.objects.list(name)):
        delete_object(lake, path)
    folder = lake.objects.local_path(name)
    if folder is not None and folder.is_dir():
        # Only empty folders are left.
        shutil.rmtree(folder)


def _sharing(
    lake: Lake, plan: Plan, tables: Iterable[str], column: str, objects: Iterable[str]
) -> dict[str, list[dict[str, Any]]]:
    """Rows of others in the objects that hold the patient, by object."""
    wanted = pa.array(list(objects), pa.string())
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for table in tables:
        removal = Removal(table, plan.names, models=plan.deleted_models)
        for rows in raw_rows(lake.tables, table):
            stays = rows.filter(pa.array(equals_any(rows[column], wanted) & ~removal.mask(rows)))
            names = [
                name
                for name in ("pack", "offset", "length", "sha256", *_STACK_COLUMNS)
                if name in rows.column_names
            ]
            for row in stays.select(names).to_pylist():
                found[row[column]].append(row)
    return found


def _restack(
    lake: Lake, array: str, positions: list[int], shards: int | None
) -> dict[tuple[str, int], tuple[str, int, int]]:
    """Write a stack with these images of another one; returns where each lies now."""
    size = len(open_array(lake.objects, array, shards=shards))
    images = np.stack(read_stack_items(lake.objects, array, positions, shards=shards))
    described = read_attributes(lake.objects, array)
    attributes = {
        name: [value[position] for position in positions] if _is_per_image(value, size) else value
        for name, value in described.items()
        if name not in _MADE_ANEW
    }
    name = digest_many([array, *map(str, positions)])[:32]
    info = write_stack(lake.objects, name, images, attributes)
    return {(array, old): (info.array, new, info.shards) for new, old in enumerate(positions)}


def _is_per_image(value: Any, images: int) -> bool:
    return isinstance(value, list) and len(value) == images
