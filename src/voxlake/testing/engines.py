"""The contract of an engine as a test suite.

Subclass `EngineContract` in a test file and say how to make the engine::

    class TestMyEngine(EngineContract):
        url = "mine://host"

        def make_engine(self) -> Engine:
            return MyEngine("mine://host")

The class of an engine that works in the driver's own process sets ``isolated = False``: it cannot survive
an item that kills its process. Needs pytest.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxlake.core.errors import UsageError
from voxlake.engine.contract import Engine, Outcome
from voxlake.engine.open import open_engine
from voxlake.testing.engine_tasks import PATIENT, Builder, Guest, misbehave, negate, reverse, work_in

__all__ = ["EngineContract", "is_running", "wait_until"]

_MEGABYTE = 1 << 20
_DRIVER = """
import sys
from voxlake.testing.engine_tasks import Guest, announce
{setup}
try:
    for _ in engine.map(announce, [Guest(sys.argv[2], sys.argv[1])] * 20):
        pass
except KeyboardInterrupt:
    print("interrupted")
    sys.exit(7)
"""


class EngineContract:
    """What every engine must do; inherit from it and name the class ``Test...``."""

    url: str = ""
    isolated: bool = True
    #: How many items may have been pulled beyond those that have come back, in batches per worker.
    batches_ahead: int = 3
    #: Seconds that a driver of its own may take until its workers work, and new workers until they are up.
    patience: float = 20.0

    def make_engine(self) -> Engine:
        """Make the engine to be tested."""
        return open_engine(self.url)

    def engine_setup(self) -> str:
        """Python lines that set ``engine``, for the tests that need a driver of their own."""
        return f"from voxlake.engine.open import open_engine\nengine = open_engine({self.url!r})"

    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        """An engine for one test."""
        with self.make_engine() as engine:
            yield engine

    def _needs_isolation(self) -> None:
        if not self.isolated:
            pytest.skip("this engine works in the process of the driver")

    # -- what comes back ---------------------------------------------------------------------------------

    def test_is_an_engine(self, engine: Engine) -> None:
        """It has what the protocol asks for."""
        assert isinstance(engine, Engine)
        assert engine.workers >= 1
        assert engine.url

    @pytest.mark.parametrize("batch", [1, 7, 1000])
    def test_every_item_comes_back_once(self, engine: Engine, batch: int) -> None:
        """One outcome per item, whatever the batch."""
        outcomes = list(engine.map(negate, range(200), batch=batch))
        assert sorted(outcome.index for outcome in outcomes) == list(range(200))
        assert all(outcome.ok and outcome.attempts == 1 for outcome in outcomes)
        assert all(outcome.value == -outcome.item == -outcome.index for outcome in outcomes)

    def test_no_items(self, engine: Engine) -> None:
        """Nothing in, nothing out."""
        assert list(engine.map(negate, [])) == []

    def test_the_item_itself_comes_back(self, engine: Engine) -> None:
        """The outcome holds the item itself, not a copy that travelled."""
        items = [Guest("behave") for _ in range(5)]
        outcomes = list(engine.map(misbehave, items))
        assert all(outcome.item is items[outcome.index] for outcome in outcomes)

    def test_seconds_are_those_of_the_item(self, engine: Engine) -> None:
        """The duration is that of the function, not of the wait."""
        (outcome,) = engine.map(work_in, [0.2])
        assert 0.19 < outcome.seconds < 2.0

    @pytest.mark.parametrize("batch", [1, 3])
    def test_large_items_and_results(self, engine: Engine, batch: int) -> None:
        """Neither side blocks when both send more than a pipe holds."""
        items = [bytes([number]) * 5 * _MEGABYTE + b"end" for number in range(8)]
        outcomes = list(engine.map(reverse, items, batch=batch))
        assert len(outcomes) == 8
        assert all(outcome.value == items[outcome.index][::-1] for outcome in outcomes)

    def test_two_maps_with_one_engine(self, engine: Engine) -> None:
        """An engine serves one map after the other."""
        assert _values(engine.map(negate, range(5))) == [0, -1, -2, -3, -4]
        assert _values(engine.map(reverse, [b"ab", b"cd"])) == [b"ba", b"dc"]

    def test_state_is_built_once_per_worker(self, engine: Engine) -> None:
        """The function travels once per map and keeps its state."""
        values = [outcome.value for outcome in engine.map(Builder(), range(50))]
        assert all(value is not None and value[1] == 1 for value in values)
        assert len({value[0] for value in values if value is not None}) <= engine.workers

    @pytest.mark.parametrize("limits", [{"batch": 0}, {"timeout": 0.0}, {"memory": -1}])
    def test_senseless_limits_are_refused(self, engine: Engine, limits: dict[str, Any]) -> None:
        """At the call, not at the first item."""
        with pytest.raises(UsageError, match="positive"):
            engine.map(negate, [1], **limits)

    # -- back-pressure -----------------------------------------------------------------------------------

    def _check_flat(self, engine: Engine, count: int, batch: int) -> None:
        pulled = itertools.count()
        ahead = total = 0
        for returned, outcome in enumerate(engine.map(negate, _counted(count, pulled), batch=batch)):
            ahead = max(ahead, _peek(pulled) - returned)
            total += outcome.index
        assert total == count * (count - 1) // 2
        assert ahead <= self.batches_ahead * batch * engine.workers

    def test_a_generator_stays_a_generator(self, engine: Engine) -> None:
        """Only a few batches per worker are pulled ahead."""
        self._check_flat(engine, 100_000, 1000)

    @pytest.mark.slow
    def test_a_million_items_stay_flat(self, engine: Engine) -> None:
        """The same for a million items."""
        self._check_flat(engine, 1_000_000, 1000)

    def test_stopping_early(self, engine: Engine) -> None:
        """A consumer that stops leaves an engine that can be used."""
        pulled = itertools.count()
        with closing(engine.map(negate, _counted(10**9, pulled), batch=5)) as outcomes:
            assert len(list(itertools.islice(outcomes, 12))) == 12
        assert _peek(pulled) <= 12 + self.batches_ahead * 5 * engine.workers
        assert _values(engine.map(negate, range(3))) == [0, -1, -2]

    def test_an_error_of_the_iterable_ends_the_map(self, engine: Engine) -> None:
        """Items that cannot be listed are the caller's matter."""

        def broken() -> Iterator[int]:
            yield from range(3)
            raise LookupError("no more")

        with pytest.raises(LookupError, match="no more"):
            list(engine.map(negate, broken()))
        assert _values(engine.map(negate, range(3))) == [0, -1, -2]

    # -- items that fail ---------------------------------------------------------------------------------

    def _one_bad(self, engine: Engine, bad: Guest, **limits: Any) -> Outcome[Guest, Any]:
        """Map one bad guest among good ones; check the good ones and return the outcome of the bad."""
        good = Guest("behave")
        outcomes = list(engine.map(misbehave, [good, good, bad, good, good, good], batch=6, **limits))
        assert sorted(outcome.index for outcome in outcomes) == list(range(6))
        others = [outcome for outcome in outcomes if outcome.index != 2]
        assert all(outcome.value == "fine" and outcome.attempts == 1 for outcome in others)
        assert _values(engine.map(negate, range(3))) == [0, -1, -2]
        return next(outcome for outcome in outcomes if outcome.index == 2)

    @pytest.mark.parametrize(
        ("conduct", "error_type"),
        [
            ("raise", "ValueError"),
            ("leave", "SystemExit"),
            ("raise awkwardly", "voxlake.testing.engine_tasks.AwkwardError"),
        ],
    )
    def test_an_item_that_raises(self, engine: Engine, conduct: str, error_type: str) -> None:
        """It fails at once, and its message quotes nothing."""
        outcome = self._one_bad(engine, Guest(conduct))
        assert outcome.failure is not None
        assert (outcome.ok, outcome.value, outcome.attempts) == (False, None, 1)
        assert (outcome.failure.reason, outcome.failure.error_type) == ("error", error_type)
        assert f"{error_type} at voxlake.testing.engine_tasks:" in outcome.failure.message
        assert PATIENT not in outcome.failure.message

    def test_an_item_error_keeps_its_reason(self, engine: Engine) -> None:
        """Errors of voxlake keep their reason and words."""
        outcome = self._one_bad(engine, Guest("refuse"))
        assert outcome.failure is not None
        assert (outcome.failure.reason, outcome.attempts) == ("truncated", 1)
        assert outcome.failure.message == "got 3 bytes, expected 8"

    @pytest.mark.parametrize("conduct", ["return lock", "return one way"])
    def test_a_result_that_cannot_travel(self, engine: Engine, conduct: str) -> None:
        """Such a result is a failure of its item."""
        self._needs_isolation()
        outcome = self._one_bad(engine, Guest(conduct))
        assert outcome.failure is not None
        assert (outcome.failure.reason, outcome.attempts) == ("error", 1)
        assert "pickled" in outcome.failure.message
        assert PATIENT not in outcome.failure.message

    def test_an_item_that_cannot_travel(self, engine: Engine) -> None:
        """Such an item fails alone."""
        self._needs_isolation()
        outcomes = {outcome.index: outcome for outcome in engine.map(repr, [1, threading.Lock(), 3])}
        assert [outcomes[index].ok for index in range(3)] == [True, False, True]
        failure = outcomes[1].failure
        assert failure is not None
        assert failure.reason == "error"
        assert "item cannot be pickled" in failure.message

    # -- workers that are lost ---------------------------------------------------------------------------

    def test_an_item_that_kills_its_worker(self, engine: Engine) -> None:
        """It gets a second worker, and then fails."""
        self._needs_isolation()
        outcome = self._one_bad(engine, Guest("kill"))
        assert outcome.failure is not None
        assert (outcome.failure.reason, outcome.attempts) == ("worker_died", 2)

    def test_an_item_that_is_not_to_be_tried_again(self, engine: Engine) -> None:
        """With no retries, the first lost worker is the end of it."""
        self._needs_isolation()
        outcome = self._one_bad(engine, Guest("kill"), retries=0)
        assert outcome.failure is not None
        assert (outcome.failure.reason, outcome.attempts) == ("worker_died", 1)

    def test_a_worker_that_is_killed_once(self, engine: Engine, tmp_path: Path) -> None:
        """The second attempt succeeds."""
        self._needs_isolation()
        outcome = self._one_bad(engine, Guest("kill once", str(tmp_path)))
        assert (outcome.value, outcome.attempts) == ("fine", 2)

    def test_an_item_that_hangs(self, engine: Engine) -> None:
        """The time limit is per item, not per batch."""
        self._needs_isolation()
        started = time.monotonic()
        outcome = self._one_bad(engine, Guest("hang"), timeout=0.5)
        assert outcome.failure is not None
        assert (outcome.failure.reason, outcome.attempts) == ("timeout", 2)
        assert outcome.seconds >= 0.5
        assert time.monotonic() - started < self.patience

    @pytest.mark.parametrize("conduct", ["grab", "hoard"])
    def test_an_item_over_the_memory_cap(self, engine: Engine, conduct: str) -> None:
        """One large piece, or so many small ones that no answer fits."""
        self._needs_isolation()
        outcome = self._one_bad(engine, Guest(conduct), memory=100 * _MEGABYTE)
        assert outcome.failure is not None
        assert (outcome.failure.reason, outcome.attempts) == ("memory", 2)

    def test_idle_workers_that_are_killed(self, engine: Engine) -> None:
        """They cost no item an attempt."""
        self._needs_isolation()
        for _ in range(3):
            outcomes = list(engine.map(work_in, [0.01] * 10))
            assert all(outcome.ok and outcome.attempts == 1 for outcome in outcomes)
            for pid in {outcome.value for outcome in outcomes if outcome.value is not None}:
                os.kill(pid, signal.SIGKILL)

    def test_random_kills_lose_and_repeat_nothing(self, engine: Engine) -> None:
        """Whoever is killed whenever: one outcome per item."""
        self._needs_isolation()
        seen: list[int] = []
        over = threading.Event()
        killer = threading.Thread(target=_kill_at_random, args=(seen, over, np.random.default_rng(7)))
        outcomes = []
        killer.start()
        try:
            for outcome in engine.map(work_in, [0.004] * 300, batch=10):
                outcomes.append(outcome)
                if outcome.value is not None:
                    seen.append(outcome.value)
        finally:
            over.set()
            killer.join()
        assert sorted(outcome.index for outcome in outcomes) == list(range(300))
        assert len(set(seen)) > engine.workers, "nobody was killed: the test has tested nothing"
        for outcome in outcomes:
            assert outcome.ok or (outcome.failure and outcome.failure.reason == "worker_died")
        assert sum(outcome.ok for outcome in outcomes) >= 290

    # -- the driver --------------------------------------------------------------------------------------

    def _drive(
        self, folder: Path, conduct: str, ready: int
    ) -> tuple[subprocess.Popen[str], Callable[[], list[int]]]:
        script = _DRIVER.format(setup=self.engine_setup())
        driver = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", script, str(folder), conduct],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

        def workers() -> list[int]:
            return [int(trace.name) for trace in folder.iterdir()]

        assert wait_until(lambda: len(workers()) >= ready, self.patience), "the workers did not start"
        return driver, workers

    def test_ctrl_c_stops_cleanly(self, engine: Engine, tmp_path: Path) -> None:
        """KeyboardInterrupt in the driver, silence from the workers, no orphans."""
        driver, workers = self._drive(tmp_path, "hang", engine.workers)
        os.killpg(driver.pid, signal.SIGINT)
        out, err = driver.communicate(timeout=20)
        assert (driver.returncode, out, err) == (7, "interrupted\n", "")
        assert wait_until(lambda: not any(map(is_running, workers())), 5)

    @pytest.mark.parametrize("conduct", ["hang", "spin"])
    def test_workers_leave_when_the_driver_is_killed(
        self, engine: Engine, tmp_path: Path, conduct: str
    ) -> None:
        """Also those that are busy."""
        driver, workers = self._drive(tmp_path, conduct, engine.workers)
        driver.kill()
        driver.communicate(timeout=20)
        assert wait_until(lambda: not any(map(is_running, workers())), 5)


def is_running(pid: int) -> bool:
    """Whether there is a process that has not ended; a zombie has."""
    with suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    if Path("/proc/self").exists():
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition to come true; whether it did."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def _values(outcomes: Iterator[Outcome[Any, Any]]) -> list[Any]:
    return [outcome.value for outcome in sorted(outcomes, key=lambda outcome: outcome.index)]


def _counted(count: int, pulled: Iterator[int]) -> Iterator[int]:
    for number in range(count):
        next(pulled)
        yield number


def _peek(counter: Iterator[int]) -> int:
    # itertools.count shows its state without taking a step: count(42).
    return int(repr(counter)[6:-1])


def _kill_at_random(seen: list[int], over: threading.Event, chance: np.random.Generator) -> None:
    while not over.wait(chance.uniform(0.02, 0.06)):
        if seen:
            with suppress(ProcessLookupError):
                os.kill(int(chance.choice(seen[-4:])), signal.SIGKILL)
