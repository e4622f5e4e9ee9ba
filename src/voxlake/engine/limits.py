"""The memory cap of a worker.

The cap is RLIMIT_DATA, which counts private writable memory: what an item really allocates. RLIMIT_AS
counts every reserved address as well, and libraries with large reservations and mapped files (torch, for
one) cannot even be loaded under a small one. Since Linux 4.7 RLIMIT_DATA includes anonymous mappings; other
systems do not count them, so there a cap would be a promise without effect and is refused.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

__all__ = ["can_cap_memory", "cap_memory"]

_STATUS = Path("/proc/self/status")


def can_cap_memory() -> bool:
    """Whether this system can hold a process to a memory cap."""
    return _STATUS.exists() and importlib.util.find_spec("resource") is not None


def cap_memory(memory: int | None) -> None:
    """Let this process allocate so much more than it uses now, or lift the cap.

    Parameters
    ----------
    memory : int or None
        Bytes beyond what is in use; None lifts the cap.
    """
    if not can_cap_memory():
        return
    import resource  # does not exist on Windows

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = hard if memory is None else _data_in_use() + memory
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    # Only the soft limit moves: the next map may ask for more.
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _data_in_use() -> int:
    for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0
