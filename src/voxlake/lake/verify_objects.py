"""Reading one object again: is it there, whole, and what was stored? If not: taking it from a copy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from voxlake.core.errors import IntegrityError, LakeError, NotFoundError, VoxlakeError
from voxlake.lake.compact_packs import Piece
from voxlake.lake.lake import Lake, LakeReference
from voxlake.store.arrays import read_array, value_digest
from voxlake.store.arrow_bytes import arrow_reader
from voxlake.store.delta_log import read_commit
from voxlake.store.objects import Objects
from voxlake.store.packs import pack_name, read_member
from voxlake.store.ranges import in_place

__all__ = ["Checker", "Fault", "Image", "Result", "Task"]

Kind = Literal["pack", "array", "sealed", "commit", "parquet", "plain"]
FaultKind = Literal["missing", "truncated", "damaged", "changed"]
_PIECE = 16 * 2**20


class Image(NamedTuple):
    """What a row says of an array: index in a stack (None: all of it), digest of values, shards."""

    position: int | None
    sha256: str
    shards: int | None


class Task(NamedTuple):
    """An object to be read again.

    Parameters
    ----------
    kind : str
        What it is.
    path : str
        Its path; of an array its folder.
    size, sha256 : optional
        What is known of it: bytes and SHA-256 (hex).
    pieces : tuple of Piece
        Members of a pack.
    images : tuple of Image
        What rows say of an array.
    """

    kind: Kind
    path: str
    size: int | None = None
    sha256: str | None = None
    pieces: tuple[Piece, ...] = ()
    images: tuple[Image, ...] = ()


class Fault(NamedTuple):
    """What is wrong with an object."""

    fault: FaultKind
    detail: str


class Result(NamedTuple):
    """What became of a task.

    Parameters
    ----------
    faults : tuple of Fault
        What was wrong.
    repaired : bool
        It was, and now is right.
    note : str
        Why it could not be repaired.
    size, sha256 : optional
        As read now, for objects that are read as a whole.
    """

    faults: tuple[Fault, ...] = ()
    repaired: bool = False
    note: str = ""
    size: int | None = None
    sha256: str | None = None


@dataclass
class Checker:
    """Function of a `Task`, for `Engine.map`.

    Parameters
    ----------
    lake : LakeReference
        The worker opens the lake itself.
    copy : str or None
        Where a copy of the lake lies.
    """

    lake: LakeReference
    copy: str | None
    _opened: dict[str, tuple[Lake, Objects | None]] = field(default_factory=dict, repr=False)

    def __call__(self, task: Task) -> Result:
        """Read an object again, and repair it where there is a copy."""
        if "it" not in self._opened:
            copy = None if self.copy is None else Objects.open(self.copy, create=False)
            self._opened["it"] = (self.lake.open(), copy)
        lake, copy = self._opened["it"]
        found = _read(lake, lake.objects, task)
        if not found.faults or copy is None:
            return found
        if in_place(task.path):
            return found._replace(note="a file registered in place is no part of the lake or its copies")
        if _read(lake, copy, task).faults:
            return found._replace(note="the copy is damaged as well, or does not have it")
        _restore(lake.objects, copy, task)
        again = _read(lake, lake.objects, task)
        if again.faults:
            return found._replace(note="it was restored, but what was written cannot be read again")
        return again._replace(faults=found.faults, repaired=True)

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_opened": {}}


def _restore(objects: Objects, copy: Objects, task: Task) -> None:
    if task.kind != "array":
        objects.put(task.path, copy.get(task.path))
        return
    wanted = set(copy.list(task.path))
    for path in sorted(wanted):
        objects.put(path, copy.get(path))
    for path in sorted(set(objects.list(task.path)) - wanted):
        objects.delete(path)


def _read(lake: Lake, objects: Objects, task: Task) -> Result:
    if task.kind == "pack":
        return Result(tuple(_pack(objects, task)))
    if task.kind == "array":
        return Result(tuple(_array(objects, task)))
    try:
        data = objects.get(task.path)
    except NotFoundError:
        return Result((Fault("missing", "it is not there"),))
    except LakeError:
        return Result((Fault("damaged", "it cannot be read"),))
    digest = hashlib.sha256(data).hexdigest()
    fault = _content(lake, task, data, digest)
    return Result(() if fault is None else (fault,), size=len(data), sha256=digest)


def _content(lake: Lake, task: Task, data: bytes, digest: str) -> Fault | None:
    if task.size is not None and len(data) < task.size:
        return Fault("truncated", f"it has {len(data)} bytes, expected {task.size}")
    if task.sha256 is not None and digest != task.sha256:
        return Fault("damaged", f"it has SHA-256 {digest}, expected {task.sha256}")
    try:
        if task.kind == "commit":
            read_commit(data, 0, "")
        elif task.kind == "parquet":
            pq.read_table(arrow_reader(data))
        elif task.kind == "sealed" and lake.key_file.is_file():
            lake.key.unseal(data, context=task.path.rpartition("/")[2])
    except (VoxlakeError, pa.ArrowException, OSError, ValueError):
        return Fault("damaged", "it cannot be read as what it is")
    return None


def _pack(objects: Objects, task: Task) -> Iterator[Fault]:
    pieces = sorted(task.pieces, key=lambda piece: piece.offset)
    end = max(piece.offset + piece.length for piece in pieces)
    if not in_place(task.path):
        try:
            size = objects.size(task.path)
        except NotFoundError:
            yield Fault("missing", f"it is not there; {len(pieces)} instances lie in it")
            return
        if size < end:
            yield Fault("truncated", f"it has {size} bytes, expected {end}")
        elif size > end and pack_name([piece.sha256 for piece in pieces]) == task.path:
            yield Fault("damaged", f"it has {size} bytes, expected {end}")
    wrong = [(piece, why) for piece in pieces if (why := _member(objects, piece)) is not None]
    for piece, why in wrong:
        kind: FaultKind = "damaged"
        if in_place(task.path):
            kind = "missing" if why == "gone" else "changed"
        yield Fault(kind, f"instance {piece.sha256} at {piece.offset}: {why}")


def _member(objects: Objects, piece: Piece) -> str | None:
    """Why a member is not what it was; None if it is."""
    if piece.length <= _PIECE:
        spans: Sequence[tuple[int, int]] = [(piece.offset, piece.length)]
    else:
        end = piece.offset + piece.length
        spans = [(start, min(_PIECE, end - start)) for start in range(piece.offset, end, _PIECE)]
    state = hashlib.sha256()
    try:
        for offset, length in spans:
            state.update(read_member(objects, piece.pack, offset, length))
    except IntegrityError as error:
        return "gone" if in_place(piece.pack) and "cannot be read" in str(error) else "it ends before"
    return None if state.hexdigest() == piece.sha256 else f"it has SHA-256 {state.hexdigest()}"


def _array(objects: Objects, task: Task) -> Iterator[Fault]:
    if next(objects.list(task.path), None) is None:
        yield Fault("missing", "it is not there")
        return
    shards = task.images[0].shards
    try:
        values = read_array(objects, task.path, shards=shards)
    except IntegrityError as error:
        kind: FaultKind = "missing" if "shards" in str(error) or "half written" in str(error) else "damaged"
        yield Fault(kind, str(error))
        return
    except (LakeError, OSError, ValueError, KeyError, TypeError, json.JSONDecodeError):
        yield Fault("damaged", "it cannot be read as an array")
        return
    for position, digest, _ in task.images:
        found = value_digest(values if position is None else values[position])
        if found != digest:
            where = "" if position is None else f" of image {position}"
            yield Fault("damaged", f"the values{where} have SHA-256 {found}, expected {digest}")
