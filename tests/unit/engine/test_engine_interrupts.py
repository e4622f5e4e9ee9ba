"""Ctrl-C waits for the start of a process, and is not lost."""

from __future__ import annotations

import signal
import threading

import pytest

from voxlake.engine.interrupts import interrupts_blocked, interrupts_deferred


def test_the_first_waits_for_the_end_of_the_block() -> None:
    steps = []

    def start() -> None:
        with interrupts_deferred():
            signal.raise_signal(signal.SIGINT)
            steps.append("in the block")
        steps.append("after the block")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert steps == ["in the block"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_second_breaks_the_block() -> None:
    steps = []

    def start() -> None:
        with interrupts_deferred():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            steps.append("in the block")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert steps == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_no_harm_in_another_thread() -> None:
    steps = []

    def start() -> None:
        with interrupts_deferred():
            steps.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert steps == [signal.default_int_handler]


def test_blocked_and_unblocked() -> None:
    def blocked() -> bool:
        return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set())

    with interrupts_blocked():
        assert blocked()
    assert not blocked()
