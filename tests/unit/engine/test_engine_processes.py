"""What the engine of processes does beyond the contract of engines."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from voxlake.core.errors import EngineError, UsageError
from voxlake.engine.processes import ProcessesEngine
from voxlake.testing.engine_tasks import Guest, misbehave, negate, work_in
from voxlake.testing.engines import is_running, wait_until


@pytest.fixture
def engine() -> Iterator[ProcessesEngine]:
    with ProcessesEngine(2) as engine:
        yield engine


class Unloadable:
    """A function whose pickle does something when it is loaded."""

    def __init__(self, action: object, argument: object) -> None:
        self.recipe = (action, (argument,))

    def __call__(self, item: int) -> int:
        return item

    def __reduce__(self):
        return self.recipe


def test_workers_are_kept_between_maps(engine: ProcessesEngine) -> None:
    first = {outcome.value for outcome in engine.map(work_in, [0.05] * 8)}
    second = {outcome.value for outcome in engine.map(work_in, [0.05] * 8)}
    assert len(first) == 2
    assert first == second
    assert os.getpid() not in first


def test_no_more_workers_than_items(engine: ProcessesEngine) -> None:
    list(engine.map(negate, [1]))
    assert len(engine._pool.workers) == 1


def test_close_ends_all_workers(engine: ProcessesEngine) -> None:
    list(engine.map(work_in, [0.05] * 4))
    processes = [worker.process for worker in engine._pool.workers]
    pids = [process.pid for process in processes]
    engine.close()
    engine.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_closed_engine_refuses(engine: ProcessesEngine) -> None:
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.map(negate, [1])


def test_closing_during_a_map_ends_it(engine: ProcessesEngine) -> None:
    outcomes = engine.map(work_in, [0.01] * 50)
    next(outcomes)
    engine.close()
    with pytest.raises(EngineError, match="closed during a map"):
        list(outcomes)


def test_one_map_at_a_time(engine: ProcessesEngine) -> None:
    outcomes = engine.map(negate, range(5))
    next(outcomes)
    with pytest.raises(EngineError, match="one map at a time"):
        engine.map(negate, range(5))
    assert len(list(outcomes)) == 4
    assert len(list(engine.map(negate, range(5)))) == 5


def test_a_function_that_cannot_be_sent(engine: ProcessesEngine) -> None:
    with pytest.raises(EngineError, match="top level of a module"):
        engine.map(lambda item: item, [1])


def test_a_function_that_cannot_be_loaded(engine: ProcessesEngine) -> None:
    with pytest.raises(
        EngineError, match=r"could not load the function: ValueError at [\w.]+:\d+;"
    ) as caught:
        list(engine.map(Unloadable(int, "Doe"), [1]))
    assert "Doe" not in str(caught.value)
    assert [outcome.value for outcome in engine.map(negate, [1])] == [-1]


def test_a_function_that_kills_whoever_loads_it(engine: ProcessesEngine) -> None:
    with pytest.raises(EngineError, match=r"10 workers in a row died .* exit status 3"):
        list(engine.map(Unloadable(os._exit, 3), [1]))
    assert [outcome.value for outcome in engine.map(negate, [1])] == [-1]


def test_a_function_may_be_partial(engine: ProcessesEngine) -> None:
    assert [outcome.value for outcome in engine.map(partial(max, 5), [3])] == [5]


def test_workers_have_no_workers(engine: ProcessesEngine) -> None:
    (outcome,) = engine.map(misbehave, [Guest("recurse")])
    assert outcome.failure.reason == "error"
    assert outcome.failure.message.startswith("a worker cannot start workers")


def test_a_batch_that_was_never_read_costs_nothing(engine: ProcessesEngine) -> None:
    pids = {outcome.value for outcome in engine.map(work_in, [0.05] * 4)}
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    outcomes = engine.map(work_in, [0.0] * 6, batch=3)
    started = time.monotonic()

    def release() -> None:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    timer = threading.Timer(0.3, release)
    timer.start()
    results = list(outcomes)
    timer.join()
    assert time.monotonic() - started >= 0.3
    assert [outcome.attempts for outcome in results] == [1] * 6
    assert pids.isdisjoint({outcome.value for outcome in results})


def test_a_slow_consumer_causes_no_timeouts(engine: ProcessesEngine) -> None:
    attempts = []
    for outcome in engine.map(work_in, [0.02] * 8, batch=4, timeout=0.25):
        attempts.append((outcome.ok, outcome.attempts))
        time.sleep(0.3)
    assert attempts == [(True, 1)] * 8


def test_a_hanging_item_is_charged_even_if_the_consumer_was_slow(engine: ProcessesEngine) -> None:
    outcomes = engine.map(misbehave, [Guest("behave"), Guest("hang")], batch=2, timeout=0.3)
    first = next(outcomes)
    time.sleep(0.5)
    (second,) = outcomes
    assert first.value == "fine"
    assert (second.failure.reason, second.attempts) == ("timeout", 2)
    assert "0.3 s" in second.failure.message


def test_the_memory_cap_is_of_its_map_only(engine: ProcessesEngine) -> None:
    def allocate(limit: int | None) -> bool:
        (outcome,) = engine.map(bytearray, [60 << 20], memory=limit)
        return outcome.ok

    assert [allocate(limit) for limit in (30 << 20, None, 400 << 20, 30 << 20)] == [False, True, True, False]


def test_a_memory_cap_is_refused_where_there_is_none(
    engine: ProcessesEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxlake.engine.processes.can_cap_memory", lambda: False)
    with pytest.raises(EngineError, match="cannot cap the memory"):
        engine.map(negate, [1], memory=1 << 30)


def test_deaths_name_the_signal(engine: ProcessesEngine) -> None:
    (outcome,) = engine.map(misbehave, [Guest("kill")])
    assert outcome.failure.message == "the worker died (SIGKILL), in each of 2 attempts"
    (outcome,) = engine.map(os._exit, [5], memory=1 << 30)
    assert outcome.failure.reason == "worker_died"
    assert "exit status 5" in outcome.failure.message
    assert "1,073,741,824 bytes" in outcome.failure.message


def test_the_fork_server_may_die(engine: ProcessesEngine) -> None:
    (outcome,) = engine.map(work_in, [0.0])
    status = Path(f"/proc/{outcome.value}/status").read_text()
    parent = int(status.partition("PPid:")[2].split()[0])
    assert parent != os.getpid()
    os.kill(parent, signal.SIGKILL)
    assert wait_until(lambda: not is_running(parent), 5)
    assert sum(again.ok for again in engine.map(work_in, [0.01] * 20)) == 20


def test_no_process_can_be_started(engine: ProcessesEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise BlockingIOError

    monkeypatch.setattr(engine._pool, "start_worker", refuse)
    with pytest.raises(EngineError, match="the last one of BlockingIOError"):
        list(engine.map(negate, [1]))


def test_there_must_be_a_worker() -> None:
    with pytest.raises(UsageError, match="at least 1 worker, got 0"):
        ProcessesEngine(0)


def test_an_engine_that_is_forgotten_leaves_no_workers() -> None:
    engine = ProcessesEngine(1)
    (outcome,) = engine.map(work_in, [0.0])
    del engine
    assert wait_until(lambda: not is_running(outcome.value), 5)
