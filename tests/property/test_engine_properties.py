"""Frames survive any cut of the stream; the ledger never loses or doubles an item."""

from __future__ import annotations

import io
import socket
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxlake.engine.contract import Failure
from voxlake.engine.frames import Inbox, read_frame, send_frame
from voxlake.engine.ledger import Ledger


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(8, "big") + message


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=12), st.lists(st.integers(1, 17), min_size=1))
def test_messages_survive_any_cut(messages: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(framed, messages))
    inbox, received, turn = Inbox(), [], 0
    while stream:
        size = cuts[turn % len(cuts)]
        received += inbox.take(stream[:size])
        stream, turn = stream[size:], turn + 1
        assert inbox.wanted >= 1
    assert received == messages


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 47))
def test_half_a_message_is_none(message: bytes, cut: int) -> None:
    whole = framed(message)
    with pytest.raises(EOFError):
        read_frame(io.BytesIO(whole[: min(cut, len(whole) - 1)]))
    assert read_frame(io.BytesIO(whole)) == message


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 3_000_000])
def test_frames_over_a_socket(size: int) -> None:
    ours, theirs = socket.socketpair()
    message = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    with ours, theirs, theirs.makefile("rb") as stream:
        sender = threading.Thread(target=send_frame, args=(ours, message))
        sender.start()
        assert read_frame(stream) == message
        sender.join()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 40), st.integers(1, 6), st.data())
def test_every_item_is_in_one_place(count: int, size: int, data: st.DataObject) -> None:
    ledger = Ledger(range(count), 1)
    failure = Failure("worker_died", "the worker died")
    while True:
        tasks, payloads = ledger.retry_batch()
        if not tasks:
            tasks, payloads = ledger.batch(size)
        if not tasks:
            break
        assert len(tasks) == len(payloads) <= size
        answered = data.draw(st.integers(0, len(tasks)))
        for task in tasks[:answered]:
            task.attempts += 1
            ledger.finish(task, task.item, None, 0.0)
        rest = tasks[answered:]
        if rest and data.draw(st.booleans()):
            ledger.charge(rest.pop(0), failure, 0.0)
        elif rest and not answered:
            ledger.finish(rest.pop(0), None, failure, 0.0)
        ledger.put_back(rest)
    assert sorted(outcome.index for outcome in ledger.done) == list(range(count))
    assert all(outcome.index == outcome.item and outcome.attempts <= 2 for outcome in ledger.done)
    assert (ledger.waiting, ledger.retries) == (0, 0)


def test_batches_of_large_items_are_cut() -> None:
    ledger = Ledger((bytes(3 << 20) for _ in range(5)), 1)
    assert [len(ledger.batch(4)[0]) for _ in range(4)] == [2, 2, 1, 0]
