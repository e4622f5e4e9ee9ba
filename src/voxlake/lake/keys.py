"""The verb keys show: what the key of a lake is made of, without any secret."""

from __future__ import annotations

from collections import Counter
from typing import Any

from voxlake.lake.lake import Lake
from voxlake.store.key_file import file_mode
from voxlake.store.keys import LakeKey

__all__ = ["SEALED", "keys_show", "sealed_by"]

SEALED = "quarantine"
"""Folder of the sealed objects."""

# Version and name of the secret.
_HEAD = 9


def sealed_by(lake: Lake, path: str) -> str | None:
    """Name of the secret that sealed an object; None if it is no sealed object."""
    size = lake.objects.size(path)
    return LakeKey.sealed_with(lake.objects.get_range(path, 0, min(size, _HEAD)))


def keys_show(lake: Lake) -> dict[str, Any]:
    """Show fingerprint, generations and use of the lake's key; never a secret.

    Parameters
    ----------
    lake : Lake
        The lake, with its key.

    Returns
    -------
    dict
        ``fingerprint``, ``generations`` (of the identity secret), ``file_mode``, ``sealing`` (name of the
        secret that seals now; ``identity`` where there is none for sealing only) and ``sealed``: objects by
        secret, ``unknown`` for secrets that this key does not have.

    Raises
    ------
    KeyMismatchError
        This machine does not have the key of the lake.

    Examples
    --------
    >>> keys_show(lake)  # doctest: +SKIP
    """
    key = lake.reload_key()
    counts = Counter(sealed_by(lake, path) for path in lake.objects.list(SEALED))
    known = key.seal_names
    sealed = [{"secret": name, "objects": counts[name]} for name in known]
    others = sum(count for name, count in counts.items() if name not in known)
    return {
        "fingerprint": key.fingerprint,
        "generations": len(key.generations),
        "file_mode": f"{file_mode(lake.key_file):04o}",
        "sealing": known[-1],
        "sealed": [*sealed, {"secret": "unknown", "objects": others}] if others else sealed,
    }
