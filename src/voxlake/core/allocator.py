"""Memory that is needed again at once is kept, where the C library would give it back."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["memory_kept"]

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
# Where glibc itself ends up, once it has seen large blocks.
_USUAL = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20, _TOP_PAD: 128 << 10}
_KEPT = {_MMAP_THRESHOLD: 1 << 30, _TRIM_THRESHOLD: (1 << 31) - 1, _TOP_PAD: 64 << 20}


@contextmanager
def memory_kept() -> Iterator[None]:
    """Within it, blocks of up to 1 GiB stay with the process when they are freed.

    glibc takes large blocks from the system and returns each when it is freed, so that every tensor of a
    training step is paged in and zeroed anew: a quarter of the step of a U-Net on patches of 96 cubed in
    bfloat16. What was kept is given back at the end. Only where there is glibc; elsewhere nothing changes.
    The setting is of the whole process, so a use within a use ends both.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not (hasattr(library, "mallopt") and hasattr(library, "malloc_trim")):
        yield
        return
    _set(library, _KEPT)
    try:
        yield
    finally:
        _set(library, _USUAL)
        library.malloc_trim(0)


def _set(library: ctypes.CDLL, values: dict[int, int]) -> None:
    for option, value in values.items():
        library.mallopt(option, value)
