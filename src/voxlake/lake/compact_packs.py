"""Small packs become large ones: which, and where their members lie then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from voxlake.core.errors import IntegrityError, ItemError
from voxlake.lake.lake import Lake, LakeReference
from voxlake.store.compaction import Member, read_file
from voxlake.store.delta_log import LogFile
from voxlake.store.duplicate_rows import Repeated
from voxlake.store.packs import read_members, write_pack
from voxlake.store.ranges import in_place

__all__ = ["MergePacks", "PackPlan", "Piece", "plan_packs"]

_COLUMNS = ("pack", "offset", "length", "sha256")
_SMALL = 8 * 2**20
_TARGET = 64 * 2**20


class Piece(NamedTuple):
    """A member of a pack, as its row says."""

    pack: str
    offset: int
    length: int
    sha256: str


@dataclass(frozen=True)
class PackPlan:
    """What is to be done with packs.

    Parameters
    ----------
    groups : tuple of tuple of Piece
        Members of small packs; each group becomes one pack.
    unnamed : frozenset of str
        Packs that only hidden rows name.
    """

    groups: tuple[tuple[Piece, ...], ...]
    unnamed: frozenset[str]


def plan_packs(lake: Lake, files: Sequence[LogFile], repeated: Iterable[Repeated], members: int) -> PackPlan:
    """Find the small packs, in the order of the rows.

    Parameters
    ----------
    files : sequence of LogFile
        Files of `instances`.
    repeated : iterable of Repeated
        Rows of `instances` that no view shows: they name nothing.
    members : int
        About how many members are to be moved at most; the rest is for the next time.
    """
    hidden: dict[str, list[int]] = {}
    for group in repeated:
        for file, row in group.hidden:
            hidden.setdefault(file, []).append(row)
    sizes: dict[str, int] = {}
    left_out: set[str] = set()
    for rows, others in _rows(lake, files, hidden, ("pack", "length")):
        totals = rows.group_by("pack", use_threads=False).aggregate([("length", "sum")])
        for pack, size in zip(totals["pack"].to_pylist(), totals["length_sum"].to_pylist(), strict=True):
            sizes[pack] = sizes.get(pack, 0) + size
        left_out.update(others["pack"].unique().to_pylist())
    small = {pack for pack, size in sizes.items() if size < _SMALL and not in_place(pack)}
    groups: tuple[tuple[Piece, ...], ...] = ()
    if len(small) > 1:
        groups = tuple(_groups(_members(lake, files, hidden, small, members)))
    return PackPlan(groups, frozenset(left_out - sizes.keys()))


@dataclass
class MergePacks:
    """Function of a group of members, for `Engine.map`: puts them into one pack.

    Parameters
    ----------
    lake : LakeReference
        The worker opens the lake itself.
    """

    lake: LakeReference
    _opened: dict[str, Lake] = field(default_factory=dict, repr=False)

    def __call__(self, group: Sequence[Piece]) -> dict[Member, Member]:
        """Where each member lies now.

        Raises
        ------
        ItemError
            ``object_damaged``: a member does not have its digest; nothing was written.
        """
        if "it" not in self._opened:
            self._opened["it"] = self.lake.open()
        objects = self._opened["it"].objects
        blobs: list[bytes] = []
        try:
            for pack in dict.fromkeys(piece.pack for piece in group):
                mine = [piece for piece in group if piece.pack == pack]
                ranges = [(piece.offset, piece.length) for piece in mine]
                blobs += read_members(objects, pack, ranges, sha256=[piece.sha256 for piece in mine])
        except IntegrityError as error:
            raise ItemError("object_damaged", str(error)) from None
        entries = write_pack(objects, blobs)
        return {
            (piece.pack, piece.offset): (entry.pack, entry.offset)
            for piece, entry in zip(group, entries, strict=True)
        }

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_opened": {}}


def _rows(
    lake: Lake, files: Sequence[LogFile], hidden: dict[str, list[int]], columns: Sequence[str]
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Rows of each file that count, and those that do not."""
    for file in files:
        rows = read_file(lake.tables, "instances", file, columns)
        counts = np.ones(len(rows), dtype=bool)
        counts[hidden.get(file.path, [])] = False
        yield rows.filter(pa.array(counts)), rows.filter(pa.array(~counts))


def _members(
    lake: Lake, files: Sequence[LogFile], hidden: dict[str, list[int]], small: set[str], limit: int
) -> Iterator[tuple[Piece, ...]]:
    """Members of each small pack, in the order in which packs are met."""
    found: dict[str, set[Piece]] = {}
    for rows, _ in _rows(lake, files, hidden, _COLUMNS):
        columns = [rows[name].to_pylist() for name in _COLUMNS]
        for values in zip(*columns, strict=True):
            if values[0] in small:
                found.setdefault(values[0], set()).add(Piece(*values))
    taken = 0
    for pieces in found.values():
        if taken >= limit:
            return
        taken += len(pieces)
        yield tuple(sorted(pieces))


def _groups(packs: Iterable[tuple[Piece, ...]]) -> Iterator[tuple[Piece, ...]]:
    group: list[Piece] = []
    count = size = 0
    for pieces in packs:
        if size >= _TARGET:
            if count > 1:
                yield tuple(group)
            group, count, size = [], 0, 0
        group += pieces
        count += 1
        size += sum(piece.length for piece in pieces)
    if count > 1:
        yield tuple(group)
