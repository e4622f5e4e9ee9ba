"""Bringing an array that was written into a local folder to a remote lake."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from voxlake.core.errors import NotFoundError
from voxlake.store.objects import Objects

__all__ = ["upload"]

_AT_ONCE = 4
_ROOT = "zarr.json"


def upload(objects: Objects, array: str, folder: Path) -> None:
    """Store the files of an array; that by which it counts as written comes last.

    Parameters
    ----------
    objects : Objects
        Where the lake lies.
    array : str
        Path of the array. What is there already is replaced.
    folder : Path
        Complete array.
    """
    files = sorted(str(file.relative_to(folder).as_posix()) for file in folder.rglob("*") if file.is_file())
    there = set(objects.list(array))
    if f"{array}/{_ROOT}" in there:
        with contextlib.suppress(NotFoundError):
            objects.delete(f"{array}/{_ROOT}")
    for stray in sorted(there - {f"{array}/{file}" for file in files} - {f"{array}/{_ROOT}"}):
        with contextlib.suppress(NotFoundError):
            objects.delete(stray)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        rest = [file for file in files if file != _ROOT]
        list(pool.map(lambda file: objects.put(f"{array}/{file}", (folder / file).read_bytes()), rest))
    objects.put(f"{array}/{_ROOT}", (folder / _ROOT).read_bytes())
