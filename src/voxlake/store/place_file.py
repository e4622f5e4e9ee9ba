"""A snapshot of `voxlake.store.places` that is read without SQLite, with a few small reads.

Records of one size, sorted by SOPInstanceUID, then the texts that they point to. The file is only replaced as
a whole, and is believed only while the log of the table `instances` ends with the version it was made of;
whoever does not find an instance in it asks `Places`. Standard modules that NumPy does without are not loaded
here either: a process that wants one frame spends its time on loading modules.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LAYOUT_COLUMNS", "Place", "find_place", "place_of_values", "snapshot_state", "write_snapshot"]

_FILE = "places-1.snapshot"
# What is the same in all objects of a series, mostly: kept once for each combination.
LAYOUT_COLUMNS = (
    "format", "transfer_syntax_uid", "number_of_frames", "rows", "columns", "samples_per_pixel",
    "photometric_interpretation", "bits_allocated", "bits_stored", "pixel_representation",
)  # fmt: skip
_TEXT_COLUMNS = frozenset({"format", "transfer_syntax_uid", "photometric_interpretation"})
# Of colour only: how its samples are interleaved.
_SNAPSHOT_COLUMNS = (*LAYOUT_COLUMNS, "planar_configuration")
_MAGIC = b"voxplac1"
# Magic, version of the table, number of records, and how large the look-up was that it was made of.
_HEADER = struct.Struct("<8sqqq")
# UID and SHA-256; offset, length, pixel offset and pixel length (-1: none); where pack, layout and ranges of
# frames stand in the file, and their sizes.
_RECORD = struct.Struct("<64s32s7q3I")
_UID_SIZE = 64
_AT_ONCE = 64


class Place(NamedTuple):
    """Where one instance lies and what its pixels are.

    Parameters
    ----------
    pack : str
        Pack, or ``file://`` URL of a file registered in place.
    offset, length : int
        Of the stored file in it.
    sha256 : str
        Of the stored file.
    row : mapping
        Columns of `instances` that say what the pixels are, with ``pixel_offset``, ``pixel_length``, and
        ``planar_configuration`` for colour.
    offsets, lengths : sequence of int
        Of every frame, from the first pixel byte on; one length if all are equal. Empty where the catalogue
        does not know them, and for a single frame or uncompressed ones, which need none.
    """

    pack: str
    offset: int
    length: int
    sha256: str
    row: Mapping[str, Any]
    offsets: Sequence[int] = ()
    lengths: Sequence[int] = ()


Values = tuple[str, int, int, bytes, int | None, int | None, Mapping[str, Any], bytes | None]
"""Pack, offset, length, SHA-256, pixel offset and length, layout, and ranges of frames (64-bit integers)."""


def place_of_values(values: Values) -> Place:
    """Make a place of what is kept of it."""
    pack, offset, length, digest, pixel_offset, pixel_length, layout, ranges = values
    row = {**layout, "pixel_offset": pixel_offset, "pixel_length": pixel_length}
    numbers: Sequence[int] = memoryview(ranges or b"").cast("q")
    count = (row["number_of_frames"] or 0) if len(numbers) else 0
    return Place(pack, offset, length, digest.hex(), row, numbers[:count], numbers[count:])


def find_place(cache: str, uid: str, *, log: str) -> Place | None:
    """Where the instance of a SOPInstanceUID lies; None if the snapshot cannot tell.

    Parameters
    ----------
    cache : str
        Folder for caches of the lake on this machine.
    uid : str
        SOPInstanceUID. Under several policies the instance that came in last is found.
    log : str
        Folder ``_delta_log`` of the table `instances`; nothing is found if something was committed since the
        snapshot was made.
    """
    key = uid.encode()
    if not 0 < len(key) <= _UID_SIZE:
        return None
    try:
        descriptor = os.open(f"{cache}/{_FILE}", os.O_RDONLY)
    except OSError:
        return None
    try:
        magic, version, count, _ = _HEADER.unpack(os.pread(descriptor, _HEADER.size, 0))
        if magic != _MAGIC or not _is_last(log, version):
            return None
        record = _search(descriptor, key.ljust(_UID_SIZE, b"\0"), count)
        return None if record is None else place_of_values(_values(descriptor, record))
    except (OSError, struct.error, TypeError, ValueError):
        # Cut short or damaged; it is made anew with the next change.
        return None
    finally:
        os.close(descriptor)


def snapshot_state(cache: Path) -> tuple[int, int]:
    """Version and size that `write_snapshot` was given; (-1, 0) where there is no snapshot."""
    try:
        with (cache / _FILE).open("rb") as file:
            magic, version, _, size = _HEADER.unpack(file.read(_HEADER.size))
    except (OSError, struct.error):
        return -1, 0
    return (version, size) if magic == _MAGIC else (-1, 0)


def write_snapshot(
    cache: Path, rows: Iterable[tuple[str, Values]], *, count: int, version: int, size: int
) -> None:
    """Replace the snapshot; one writer at a time.

    Parameters
    ----------
    cache : Path
        As in `find_place`.
    rows : iterable
        SOPInstanceUID and values, in the order of the UIDs as bytes.
    count : int
        At least as many as there are rows.
    version : int
        Of the table `instances`.
    size : int
        Of the look-up, for `snapshot_state`.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    part = cache / f"{_FILE}.part"
    try:
        with part.open("wb") as records, part.open("r+b") as texts:
            texts.seek(_HEADER.size + count * _RECORD.size)
            records.seek(_HEADER.size)
            written = _write_rows(records, texts, rows)
            texts.flush()
            records.seek(0)
            records.write(_HEADER.pack(_MAGIC, version, written, size))
            records.flush()
            os.fsync(records.fileno())
        part.replace(cache / _FILE)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _write_rows(records: IO[bytes], texts: IO[bytes], rows: Iterable[tuple[str, Values]]) -> int:
    known: dict[bytes, int] = {}
    written = 0
    for uid, (pack, offset, length, digest, pixels, pixel_length, layout, ranges) in rows:
        key, described = uid.encode(), _packed(layout)
        if described is None or len(key) > _UID_SIZE:
            # Whoever asks for it is told by `Places`.
            continue
        parts = (pack.encode(), described, ranges or b"")
        for part in parts[:2]:
            if part not in known:
                known[part] = texts.tell()
                texts.write(part)
        places = (*map(known.__getitem__, parts[:2]), texts.tell())
        texts.write(parts[2])
        numbers = (-1 if pixels is None else pixels, -1 if pixel_length is None else pixel_length)
        records.write(_RECORD.pack(key, digest, offset, length, *numbers, *places, *map(len, parts)))
        written += 1
    return written


def _packed(layout: Mapping[str, Any]) -> bytes | None:
    values = ["" if layout.get(name) is None else str(layout[name]) for name in _SNAPSHOT_COLUMNS]
    text = "\n".join(values)
    return text.encode() if text.count("\n") == len(_SNAPSHOT_COLUMNS) - 1 else None


def _unpacked(text: bytes) -> dict[str, Any]:
    values = text.decode().split("\n")
    layout: dict[str, Any] = {}
    for name, value in zip(_SNAPSHOT_COLUMNS, values, strict=True):
        layout[name] = None if not value else value if name in _TEXT_COLUMNS else int(value)
    return layout


def _is_last(log: str, version: int) -> bool:
    return os.access(f"{log}/{version:020}.json", os.F_OK) and not os.access(
        f"{log}/{version + 1:020}.json", os.F_OK
    )


def _search(descriptor: int, key: bytes, count: int) -> bytes | None:
    low, high, size = 0, count, _RECORD.size
    while high - low > _AT_ONCE:
        middle = (low + high) // 2
        if os.pread(descriptor, _UID_SIZE, _HEADER.size + middle * size) <= key:
            low = middle
        else:
            high = middle
    block = os.pread(descriptor, (high - low) * size, _HEADER.size + low * size)
    for start in range(0, len(block), size):
        if block.startswith(key, start):
            return block[start : start + size]
    return None


def _values(descriptor: int, record: bytes) -> Values:
    _, digest, offset, length, pixels, pixel_length, *places = _RECORD.unpack(record)
    pack, layout, ranges = (
        os.pread(descriptor, size, place) if size else b""
        for place, size in zip(places[:3], places[3:], strict=True)
    )
    if (len(pack), len(layout), len(ranges)) != tuple(places[3:]):
        raise ValueError("the snapshot is cut short")
    return (
        pack.decode(),
        offset,
        length,
        digest,
        None if pixels < 0 else pixels,
        None if pixel_length < 0 else pixel_length,
        _unpacked(layout),
        ranges,
    )
