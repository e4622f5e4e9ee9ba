"""Threads of a process: all cores to one that works alone, and its share of them to a worker.

Libraries that work in several threads (BLAS, torch, OpenCV, SimpleITK) take every core by default. Workers
that each did so would fight for them, so an engine tells each worker its share: by the variables that such
libraries read when they start, set in the environment of workers only. One that the user has set is left
alone. The engine itself knows none of these libraries; code of our own that starts threads asks
`allowed_threads`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

__all__ = [
    "THREAD_VARIABLES",
    "allowed_threads",
    "share_of",
    "thread_limits",
    "threads_limited",
    "usable_cores",
]

#: What libraries read: OpenMP (torch, scikit-learn), three kinds of BLAS, ITK (SimpleITK), OpenCV,
#: and Rust's thread pool (zarrs).
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    "OPENCV_FOR_THREADS_NUM",
    "RAYON_NUM_THREADS",
)


def usable_cores() -> int:
    """How many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_of(workers: int) -> int:
    """How many threads each of so many workers on this machine may have; at least one."""
    return max(1, usable_cores() // workers)


def allowed_threads() -> int:
    """How many threads this process may work in: OMP_NUM_THREADS where it is set, else as many as cores."""
    said = os.environ.get(THREAD_VARIABLES[0], "")
    return int(said) if said.isascii() and said.isdigit() and int(said) > 0 else usable_cores()


def thread_limits(threads: int, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of a worker that has so many threads; those that an environment has already stay."""
    return {name: environment.get(name) or str(threads) for name in THREAD_VARIABLES}


@contextmanager
def threads_limited(threads: int) -> Iterator[None]:
    """Let processes that are started meanwhile inherit a limit; what was set before stays as it was."""
    limits = thread_limits(threads, os.environ)
    before = {name: os.environ.get(name) for name in limits}
    os.environ.update(limits)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
