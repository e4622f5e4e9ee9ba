"""One frame of a lake that is no local folder: a look-up on this machine, and a range of an object."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxlake.core.errors import IntegrityError, NotFoundError
from voxlake.lake.lake import Lake, open_lake
from voxlake.store.places import Places
from voxlake.store.ranges import in_place, open_pack, read_range
from voxlake.volumes.frames import frame_of_file, frame_of_range, frame_range, unknown_instance

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_frame_afar"]


def read_frame_afar(lake: Lake | str | Path, sop_instance_uid: str, frame: int = 0) -> NDArray[Any]:
    """Read one frame; see `voxlake.volumes.frames.read_frame`."""
    opened = lake if isinstance(lake, Lake) else open_lake(lake, create=False)
    places = Places(opened.cache)
    # What came in since the last time is told by the table alone.
    places.sync(opened.tables)
    place = places.find(sop_instance_uid)
    if place is None:
        raise unknown_instance()
    found = frame_range(place, frame)
    data = _bytes(opened, place.pack, place.length, found or (place.offset, place.length))
    return frame_of_file(data, place, frame) if found is None else frame_of_range(data, place)


def _bytes(lake: Lake, pack: str, size: int, where: tuple[int, int]) -> bytes:
    if not in_place(pack):
        try:
            return lake.objects.get_range(pack, *where)
        except NotFoundError:
            raise IntegrityError(f"pack '{pack}' is gone; restore it from a backup") from None
    # The path of a file registered in place is its own.
    descriptor = open_pack(Path("/"), pack, size=size)
    try:
        return read_range(descriptor, *where)
    finally:
        os.close(descriptor)
