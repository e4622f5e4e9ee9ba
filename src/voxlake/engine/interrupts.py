"""Ctrl-C and the start of processes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["interrupts_blocked", "interrupts_deferred"]


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Let a first Ctrl-C wait until the block is done; a second one breaks it.

    A start of a process that is cut in the middle leaves half a child, which complains on stderr.
    """
    # Python runs signal handlers in the main thread only; a handler not set from Python cannot be put back.
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    caught: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if caught:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Start processes that do not notice Ctrl-C before they have said what they make of it (POSIX).

    A blocked signal stays blocked in the child; ignoring it here would lose one that is meant for us.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
