"""Children of a cluster's worker, without a cluster."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from voxlake.core.errors import EngineError
from voxlake.engine.answers import read_answer
from voxlake.engine.child import Children, Lost, Order
from voxlake.engine.cluster import Versions, check_versions, settle
from voxlake.engine.ledger import Ledger, pickle_function
from voxlake.testing.engine_tasks import Builder, Guest, misbehave, negate, work_in
from voxlake.testing.engines import is_running, wait_until


@pytest.fixture
def children() -> Iterator[Children]:
    children = Children()
    yield children
    children.close()


def _run(
    children: Children, function: Callable[[Any], Any], items: list[Any], name: str = "map", **options: Any
) -> list[Any]:
    order = Order.here("driver", name, options.pop("timeout", None), options.pop("memory", None))
    payloads = [pickle.dumps(item) for item in items]
    replies = children.run(order, pickle_function(function), payloads, **options)
    return [reply if isinstance(reply, Lost) else read_answer(reply)[2] for reply in replies]


def test_a_child_is_kept_and_loads_a_function_once_per_map(children: Children) -> None:
    first = _run(children, Builder(), [1, 2]) + _run(children, Builder(), [3])
    assert [built for _, built in first] == [1, 1, 1]
    ((pid, built),) = _run(children, Builder(), [1], "another")
    assert (built, {one for one, _ in first}) == (1, {pid})
    ((other, _),) = _run(children, Builder(), [1], "another", fresh=True)
    assert other != pid
    assert wait_until(lambda: not is_running(pid), 5)


def test_a_child_does_not_give_memory_back_after_every_array(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Dask sets the first for its workers, and the second is for the child as well.
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert _run(children, os.getenv, ["MALLOC_TRIM_THRESHOLD_", "OMP_NUM_THREADS"]) == [None, "1"]


def test_every_item_has_a_reply_when_children_are_lost(children: Children) -> None:
    guests = [Guest(conduct) for conduct in ("behave", "kill", "behave", "hang", "behave")]
    replies = _run(children, misbehave, guests, timeout=1.0)
    assert [replies[index] for index in (0, 2, 4)] == ["fine"] * 3
    assert (replies[1].failure.reason, replies[3].failure.reason) == ("worker_died", "timeout")
    assert replies[3].seconds >= 1.0


def test_work_that_is_not_wanted_any_more_ends(children: Children) -> None:
    started = time.monotonic()
    (pid,) = _run(children, work_in, [0.0])
    assert (
        _run(children, misbehave, [Guest("hang")], "b", wanted=lambda: time.monotonic() < started + 1) == []
    )
    assert time.monotonic() - started < 20
    assert not is_running(pid)


def test_a_function_that_cannot_be_loaded(children: Children) -> None:
    with pytest.raises(EngineError, match="could not load the function"):
        children.run(Order("driver", "map"), b"no pickle", [b""])


def test_one_driver_never_gets_the_child_of_another(children: Children) -> None:
    (pid,) = _run(children, work_in, [0.0])
    payloads = [pickle.dumps(0.0)]
    (reply,) = children.run(Order("other", "map"), pickle_function(work_in), payloads)
    assert isinstance(reply, bytes)
    assert read_answer(reply)[2] != pid
    children.dismiss("driver")
    assert not is_running(pid)
    assert is_running(read_answer(reply)[2])


def test_closed_children_take_no_more(children: Children) -> None:
    children.close()
    with pytest.raises(EngineError, match="leaving"):
        _run(children, negate, [1])


def test_replies_enter_the_books() -> None:
    ledger = Ledger(["a", "b"], retries=1)
    tasks, _ = ledger.batch(2)
    lost = Lost(read_answer(b"nonsense")[1], 2.0)
    settle(ledger, tasks, [pickle.dumps((0.5, None, "done")), lost])
    assert [(one.item, one.value, one.attempts) for one in ledger.done] == [("a", "done", 1)]
    assert ledger.retries == 1
    tasks, _ = ledger.retry_batch()
    settle(ledger, tasks, [lost])
    assert [(one.item, one.attempts, one.seconds) for one in ledger.done][1:] == [("b", 2, 2.0)]


def test_other_versions_are_refused() -> None:
    here = Versions.here()
    check_versions({"one": here})
    others = {
        "one": Versions("3.0", here.voxlake),
        "two": ModuleNotFoundError("", name="voxlake"),
        "three": RuntimeError("of a patient"),
        "four": Versions(here.python, "0.0"),
    }
    with pytest.raises(EngineError) as caught:
        check_versions(others)
    message = str(caught.value)
    assert f"one has Python 3.0 and voxlake {here.voxlake}; two lacks the module voxlake" in message
    assert "three could not load this version (RuntimeError), and 1 more" in message
    assert "of a patient" not in message
