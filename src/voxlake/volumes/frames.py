"""One frame of one stored instance: a look-up, a range read, and the decoding of that frame alone.

The modules that this one loads at its top are few, on purpose: a process that wants one frame and nothing
else spends its time on loading libraries.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import numpy as np

from voxlake.core.errors import IntegrityError, NotFoundError, UsageError
from voxlake.dicom.frame_index import EXPLICIT_BIG, NATIVE_SYNTAXES, frame_bytes
from voxlake.store.places import Place, Places
from voxlake.store.ranges import open_pack, read_range

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from voxlake.lake.lake import Lake

__all__ = ["read_frame"]

_LITTLE = NATIVE_SYNTAXES - {EXPLICIT_BIG}


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
    root, cache = _where(lake)
    places = Places(cache)
    place = places.find(sop_instance_uid, log=root / "tables/instances/_delta_log")
    if place is None:
        # DuckDB, Arrow and Delta Lake are loaded only when something came in since the last time.
        from voxlake.store.objects import Objects
        from voxlake.store.tables import Tables

        places.sync(Tables(Objects.open(root, create=False)))
        place = places.find(sop_instance_uid)
    if place is None:
        raise NotFoundError(
            "there is no instance of this SOPInstanceUID in the lake; look it up in `instances`"
        )
    frames = place.row["number_of_frames"] or 0
    if place.row["format"] != "dicom" or not 0 <= frame < frames:
        raise UsageError(f"the instance holds {frames} DICOM frames, there is no frame {frame}")
    return _read(root, place, frame)


def _where(lake: Lake | str | Path) -> tuple[Path, Path]:
    """Folder of the lake, and folder for its caches."""
    if not isinstance(lake, str | Path):
        return Path(unquote(urlsplit(lake.objects.url).path)), lake.cache
    text = str(lake)
    root = Path(unquote(urlsplit(text).path) if text.startswith("file://") else text).expanduser().absolute()
    try:
        settings = tomllib.loads((root / "lake.toml").read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"no lake at '{lake}'") from None
    return root, Path.home() / ".cache" / "voxlake" / str(settings["lake_id"])


def _read(root: Path, place: Place, frame: int) -> NDArray[Any]:
    found = _range(place, frame)
    descriptor = open_pack(root, place.pack, size=place.length)
    try:
        if found is None:
            return _of_whole(read_range(descriptor, place.offset, place.length), place, frame)
        offset, length = found
        data = read_range(descriptor, place.offset + place.row["pixel_offset"] + offset, length)
    finally:
        os.close(descriptor)
    if _is_plain(place.row):
        return _plain(data, place.row)
    # pydicom and the codecs are loaded for what is compressed or coloured.
    from voxlake.dicom.one_frame import decode_one_frame

    return decode_one_frame(data, place.row)


def _range(place: Place, frame: int) -> tuple[int, int] | None:
    """Offset (from the first pixel byte on) and length of a frame; None if the whole file is needed."""
    row = place.row
    if row["pixel_offset"] is None or row["photometric_interpretation"] == "PALETTE COLOR":
        # The palette stands in the header.
        return None
    if len(place.offsets):
        return place.offsets[frame], place.lengths[frame if len(place.lengths) > 1 else 0]
    size = frame_bytes(row) if row["pixel_length"] is not None else None
    if size is None or size * row["number_of_frames"] > row["pixel_length"]:
        return None
    # Of 32 bits only the header says whether they are integers; bytes in words of big endian stand in pairs.
    little = row["transfer_syntax_uid"] in _LITTLE and row["bits_allocated"] <= 16
    return (frame * size, size) if little or _is_plain(row) else None


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


def _plain(data: bytes, row: Mapping[str, Any]) -> NDArray[Any]:
    order = ">" if row["transfer_syntax_uid"] == EXPLICIT_BIG else "<"
    kind = "i" if row["pixel_representation"] == 1 else "u"
    stored = np.frombuffer(data, dtype=f"{order}{kind}{row['bits_allocated'] // 8}")
    image = stored.reshape(row["rows"], row["columns"])
    bits = row["bits_stored"] or row["bits_allocated"]
    # Unused bits may hold anything (PS3.5 section 8.1.1).
    if bits < row["bits_allocated"] and kind == "u":
        masked: NDArray[Any] = np.bitwise_and(image, (1 << bits) - 1)
        return masked
    values = image.astype(stored.dtype.newbyteorder("="))
    if bits < row["bits_allocated"]:
        # Shifting back repeats the sign.
        np.left_shift(values, row["bits_allocated"] - bits, out=values)
        np.right_shift(values, row["bits_allocated"] - bits, out=values)
    return values


def _of_whole(data: bytes, place: Place, frame: int) -> NDArray[Any]:
    # What hashlib, pydicom and the codecs cost is paid only where a range does not do.
    from voxlake.core.digest import digest_bytes
    from voxlake.dicom.decode import decode_pixels
    from voxlake.dicom.read import read_dataset

    if digest_bytes(data) != place.sha256:
        raise IntegrityError("the stored bytes of the instance are damaged; restore the pack from a backup")
    values: NDArray[Any] = decode_pixels(read_dataset(data))[frame]
    return values
