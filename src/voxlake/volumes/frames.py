"""One frame of one stored instance: a look-up, a range read, and the decoding of that frame alone.

The modules that this one loads at its top are few, on purpose: a process that wants one frame and nothing
else spends its time on loading libraries.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from voxlake.core.errors import IntegrityError, NotFoundError, UsageError
from voxlake.dicom.frame_index import EXPLICIT_BIG, NATIVE_SYNTAXES, frame_bytes
from voxlake.store.place_file import Place, find_place

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from voxlake.lake.lake import Lake

__all__ = ["frame_of_file", "frame_of_range", "frame_range", "read_frame", "unknown_instance"]

_LITTLE = NATIVE_SYNTAXES - {EXPLICIT_BIG}
_LOG = "tables/instances/_delta_log"
_ID_LENGTH = 32
# Some thirty times what `voxlake` writes into `lake.toml`.
_SETTINGS_SIZE = 4096


def read_frame(lake: Lake | str | Path, sop_instance_uid: str, frame: int = 0) -> NDArray[Any]:
    """Read one frame of a stored instance.

    Parameters
    ----------
    lake : Lake, str or Path
        The lake, or its folder: then nothing of it is opened that the frame does not need.
    sop_instance_uid : str
        SOPInstanceUID as in `instances`. Stored under several policies, the one that came in last is read.
    frame : int
        Number of the frame, from 0.

    Returns
    -------
    ndarray
        Shape (rows, columns) or (rows, columns, 3), in native byte order: stored values, no rescale, no
        window, signed where PixelRepresentation says so; colour as RGB, palettes included. The same as that
        frame of `voxlake.dicom.decode.decode_pixels`.

    Raises
    ------
    NotFoundError
        There is no such instance in the lake.
    UsageError
        The instance does not have that frame, or is no DICOM image.
    IntegrityError
        Its bytes are gone, or, where the whole file has to be read, damaged. A single range is not compared
        with the SHA-256 of the file.
    ItemError
        The pixels cannot be decoded.

    Examples
    --------
    >>> read_frame("./lake", "2.25.1234")  # doctest: +SKIP
    """
    where = _where(lake)
    if where is None:
        # A lake that is no local folder needs the store libraries anyway.
        from voxlake.volumes.frames_afar import read_frame_afar

        return read_frame_afar(lake, sop_instance_uid, frame)
    root, cache = where
    place = find_place(cache, sop_instance_uid, log=f"{root}/{_LOG}")
    if place is None:
        place = _looked_up(root, cache, sop_instance_uid)
    return _read(root, place, frame)


def frame_range(place: Place, frame: int) -> tuple[int, int] | None:
    """Where a frame lies in the pack.

    Returns
    -------
    tuple of int or None
        First byte and length; None if the whole file is needed.

    Raises
    ------
    UsageError
        The instance does not have that frame, or is no DICOM image.
    """
    row = place.row
    frames = row["number_of_frames"] or 0
    if row["format"] != "dicom" or not 0 <= frame < frames:
        raise UsageError(f"the instance holds {frames} DICOM frames, there is no frame {frame}")
    if row["pixel_offset"] is None or row["photometric_interpretation"] == "PALETTE COLOR":
        # The palette stands in the header.
        return None
    start = place.offset + row["pixel_offset"]
    if len(place.offsets):
        return start + place.offsets[frame], place.lengths[frame if len(place.lengths) > 1 else 0]
    size = frame_bytes(row) if row["pixel_length"] is not None else None
    if size is None or size * frames > row["pixel_length"]:
        return None
    # Of 32 bits only the header says whether they are integers; bytes in words of big endian stand in pairs.
    little = row["transfer_syntax_uid"] in _LITTLE and row["bits_allocated"] <= 16
    return (start + frame * size, size) if little or _is_plain(row) else None


def frame_of_range(data: bytes, place: Place) -> NDArray[Any]:
    """Decode a frame from the bytes of its range."""
    if _is_plain(place.row) and len(data) == frame_bytes(place.row):
        values = _empty(place.row)
        values.reshape(-1).view(np.uint8)[:] = np.frombuffer(data, np.uint8)
        return _cleaned(values, place.row)
    # pydicom and the codecs are loaded for what is compressed or coloured.
    from voxlake.dicom.one_frame import decode_one_frame

    return decode_one_frame(data, place.row)


def frame_of_file(data: bytes, place: Place, frame: int) -> NDArray[Any]:
    """Decode a frame of a whole stored file, which is checked."""
    # What hashlib, pydicom and the codecs cost is paid only where a range does not do.
    from voxlake.core.digest import digest_bytes
    from voxlake.dicom.decode import decode_pixels
    from voxlake.dicom.read import read_dataset

    if digest_bytes(data) != place.sha256:
        raise IntegrityError("the stored bytes of the instance are damaged; restore the pack from a backup")
    values: NDArray[Any] = decode_pixels(read_dataset(data))[frame]
    return values


def unknown_instance() -> NotFoundError:
    """What is raised for a SOPInstanceUID that the lake does not hold."""
    return NotFoundError("there is no instance of this SOPInstanceUID in the lake; look it up in `instances`")


def _where(lake: Lake | str | Path) -> tuple[str, str] | None:
    """Folder of the lake, and folder for its caches; None if it is no local folder."""
    if not isinstance(lake, str | os.PathLike):
        folder = lake.objects.local_path("")
        return None if folder is None else (str(folder), str(lake.cache))
    text = os.fspath(lake)
    if "://" in text:
        # pathlib is loaded only for what needs it: it takes longer than the frame.
        from urllib.parse import unquote, urlsplit

        if not text.startswith("file://"):
            return None
        text = unquote(urlsplit(text).path)
    root = os.path.abspath(os.path.expanduser(text))  # noqa: PTH100, PTH111 - as above
    try:
        descriptor = os.open(f"{root}/lake.toml", os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"no lake at '{lake}'") from None
    try:
        identifier = _lake_id(os.read(descriptor, _SETTINGS_SIZE))
    finally:
        os.close(descriptor)
    return root, os.path.expanduser(f"~/.cache/voxlake/{identifier}")  # noqa: PTH111 - as above


def _lake_id(settings: bytes) -> str:
    _, found, rest = settings.partition(b'\nlake_id = "')
    identifier, end, _ = rest.partition(b'"\n')
    if found and end and len(identifier) == _ID_LENGTH and identifier.isalnum():
        return identifier.decode()
    # Somebody wrote it in another way.
    import tomllib

    return str(tomllib.loads(settings.decode())["lake_id"])


def _looked_up(root: str, cache: str, uid: str) -> Place:
    # SQLite is loaded when the snapshot cannot tell.
    from pathlib import Path

    from voxlake.store.places import Places

    places = Places(cache)
    place = places.find(uid, log=Path(root) / _LOG)
    if place is None:
        # DuckDB, Arrow and Delta Lake are loaded only when something came in since the last time.
        from voxlake.store.objects import Objects
        from voxlake.store.tables import Tables

        places.sync(Tables(Objects.open(root, create=False)))
        place = places.find(uid)
    if place is None:
        raise unknown_instance()
    return place


def _read(root: str, place: Place, frame: int) -> NDArray[Any]:
    found = frame_range(place, frame)
    if found is not None and _is_plain(place.row) and found[1] == frame_bytes(place.row):
        values = _empty(place.row)
        if _fill(root, place.pack, found[0], values):
            return _cleaned(values, place.row)
    # Packs outside the lake, compressed frames, and saying what is wrong with a pack.
    from pathlib import Path

    from voxlake.store.ranges import open_pack, read_range

    descriptor = open_pack(Path(root), place.pack, size=place.length)
    try:
        if found is None:
            return frame_of_file(read_range(descriptor, place.offset, place.length), place, frame)
        data = read_range(descriptor, *found)
    finally:
        os.close(descriptor)
    return frame_of_range(data, place)


def _fill(root: str, pack: str, offset: int, values: NDArray[Any]) -> bool:
    """Read an array from an object of the lake; False if it is none, or not there, or too short."""
    if not pack.startswith("packs/") or ".." in pack:
        return False
    try:
        descriptor = os.open(f"{root}/{pack}", os.O_RDONLY)
    except OSError:
        return False
    try:
        return os.preadv(descriptor, [values.data], offset) == values.nbytes
    finally:
        os.close(descriptor)


def _is_plain(row: Mapping[str, Any]) -> bool:
    """Whether the bytes are the values, but for their order and unused bits."""
    widths = (16,) if row["transfer_syntax_uid"] == EXPLICIT_BIG else (8, 16)
    return (
        row["transfer_syntax_uid"] in NATIVE_SYNTAXES
        and row["bits_allocated"] in widths
        and row["samples_per_pixel"] in (1, None)
        and row["photometric_interpretation"] in ("MONOCHROME1", "MONOCHROME2")
        and 1 <= (row["bits_stored"] or row["bits_allocated"]) <= row["bits_allocated"]
    )


def _empty(row: Mapping[str, Any]) -> NDArray[Any]:
    order = ">" if row["transfer_syntax_uid"] == EXPLICIT_BIG else "<"
    kind = "i" if row["pixel_representation"] == 1 else "u"
    return np.empty((row["rows"], row["columns"]), f"{order}{kind}{row['bits_allocated'] // 8}")


def _cleaned(values: NDArray[Any], row: Mapping[str, Any]) -> NDArray[Any]:
    """Native byte order, unused bits taken out in place: they may hold anything (PS3.5 section 8.1.1)."""
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    bits = row["bits_stored"] or row["bits_allocated"]
    if bits == row["bits_allocated"]:
        return values
    if values.dtype.kind == "u":
        np.bitwise_and(values, (1 << bits) - 1, out=values)
        return values
    # Shifting back repeats the sign.
    np.left_shift(values, row["bits_allocated"] - bits, out=values)
    np.right_shift(values, row["bits_allocated"] - bits, out=values)
    return values
