"""Files that belong to an operating system or are an index: counted, never read."""

from __future__ import annotations

__all__ = ["SYSTEM_FILE", "is_system_file"]

SYSTEM_FILE = "ignored_system_file"

_FILES = frozenset({".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", "autorun.inf", "dicomdir"})
# The waste baskets matter most: what a person threw away on the stick is not to be collected.
_FOLDERS = frozenset(
    {
        "__macosx",
        "$recycle.bin",
        "system volume information",
        ".spotlight-v100",
        ".fseventsd",
        ".trashes",
        "@eadir",
    }
)


def is_system_file(name: str) -> bool:
    """Whether a name (``/`` between the parts) is a file that no one wants in a lake.

    ``.DS_Store``, ``Thumbs.db``, ``desktop.ini``, AppleDouble files (``._*``), Windows links (``*.lnk``),
    DICOMDIR, and everything below ``__MACOSX`` and the like. Upper and lower case are the same.
    """
    *folders, file = name.lower().split("/")
    if file in _FILES or file.startswith("._") or file.endswith(".lnk"):
        return True
    return any(folder in _FOLDERS for folder in folders)
