"""Work on a volume a few slices at a time, by two threads where that helps."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from voxlake.engine.threads import allowed_threads

__all__ = ["each_slab"]

# About the second-level cache of a core: what is made in one go is read again before it is gone.
_SLAB_BYTES = 2**20
# Below this, starting threads takes longer than they save.
_WORTH_THREADS = 16 * 2**20
_THREADS = 2


def each_slab(function: Callable[[int, int], None], count: int, size: int) -> None:
    """Call ``function(low, high)`` for consecutive ranges that cover ``range(count)``.

    Parameters
    ----------
    function : callable
        Works on its own range only; NumPy and SciPy let other threads run meanwhile.
    count : int
        How many slices there are.
    size : int
        Bytes that they take together.

    Notes
    -----
    The ranges do not depend on the number of threads, so neither does the result. A worker process of an
    engine has its share of the cores only: its siblings use the others.
    """
    step = max(1, _SLAB_BYTES * count // max(size, 1))
    ranges = [(low, min(low + step, count)) for low in range(0, count, step)]
    if size < _WORTH_THREADS or len(ranges) < 2 or allowed_threads() < _THREADS:
        for low, high in ranges:
            function(low, high)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(lambda ends: function(*ends), ranges):
            pass
