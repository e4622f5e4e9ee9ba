"""The crash campaign: drivers and workers are killed at any moment, and nothing is lost.

A cell is a verb on an engine and a store. Each round starts the verb as a command on a fresh lake, kills the
driver or a worker at a moment drawn uniformly over the run (or over that part of it that writes), runs the
verb again to its end and compares the lake with one that nobody disturbed.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any

from voxlake.core.run import OUTCOMES
from voxlake.lake.lake import Lake, open_lake
from voxlake.store.objects import Objects, is_remote
from voxlake.testing.crash_driver import Driver, Drivers, is_alive
from voxlake.testing.crash_lakes import (
    Job,
    content,
    faults_of,
    make_lake_for,
    read_lake,
    run_verb,
    write_lake,
)
from voxlake.testing.crash_sites import Site

__all__ = ["Cell", "Kill", "Tally", "run_cell"]

_LEAVE_SECONDS = 20.0
_LOOK_SECONDS = 0.005
_POLL_SECONDS = 0.03
# A short job spends most of its time on starting workers: half of the kills are drawn over what follows.
_SPANS = ("run", "work")
# A run may be over before its kill, or have no worker any more.
_DRAWS_PER_KILL = 8


@dataclass(frozen=True)
class Cell:
    """A verb on an engine and a store.

    Parameters
    ----------
    verb : str
        One of `voxlake.testing.crash_lakes.VERBS`.
    engine, store : str
        Names for the report.
    site : Site
        The engine.
    new_url : callable
        Gives the URL of a place for one more lake.
    """

    verb: str
    engine: str
    store: str
    site: Site
    new_url: Callable[[], str]

    @property
    def name(self) -> str:
        """For the report, and for what is drawn."""
        return f"{self.verb}/{self.engine}/{self.store}"


@dataclass(frozen=True)
class Kill:
    """What became of one kill.

    Parameters
    ----------
    target : str
        ``"driver"``, ``"worker"``, or ``"child"`` of a Dask worker.
    over : str
        Over what its time was drawn: the whole ``"run"``, or the ``"work"`` after the first write.
    seconds : float
        After the start of the driver.
    written : bool
        Whether the run had written something into the lake by then.
    faults : tuple of str
        What was wrong after the verb had been run again.
    """

    target: str
    over: str
    seconds: float
    written: bool
    faults: tuple[str, ...]


@dataclass
class Tally:
    """What became of a cell.

    Parameters
    ----------
    cell : str
        Its name.
    seconds, work_seconds : float
        Time of the run that nobody disturbed, and of that the time after its first write.
    kills : list of Kill
        Those that hit.
    missed : int
        Draws that came when there was nothing to kill any more.
    """

    cell: str
    seconds: float
    work_seconds: float
    kills: list[Kill] = field(default_factory=list)
    missed: int = 0

    def summary(self) -> dict[str, Any]:
        """Plain values."""
        killed = Counter(kill.target for kill in self.kills)
        return {
            "cell": self.cell,
            "run_seconds": round(self.seconds, 2),
            "work_seconds": round(self.work_seconds, 2),
            "drivers": killed["driver"],
            "workers": killed["worker"],
            "children": killed["child"],
            "written": sum(kill.written for kill in self.kills),
            "missed": self.missed,
            "well": sum(not kill.faults for kill in self.kills),
            "at": [[kill.target, kill.over, round(kill.seconds, 3), kill.written] for kill in self.kills],
            "faults": [
                [kill.target, round(kill.seconds, 3), *kill.faults] for kill in self.kills if kill.faults
            ],
        }


def run_cell(cell: Cell, job: Job, drivers: Drivers, *, kills: int, seed: int) -> Tally:
    """Kill so many drivers and workers in a cell.

    Parameters
    ----------
    cell : Cell
        What is run where.
    job : Job
        The work.
    drivers : Drivers
        Starts the drivers.
    kills : int
        How many are to hit.
    seed : int
        The same seed draws the same targets and shares of the run.
    """
    chance = random.Random(f"{seed}/{cell.name}")  # noqa: S311 - times of kills, no secret
    return _Campaign(cell, job, drivers).run(kills, chance)


class _Campaign:
    """The rounds of one cell."""

    def __init__(self, cell: Cell, job: Job, drivers: Drivers) -> None:
        self._cell, self._job, self._drivers = cell, job, drivers
        self._template: dict[str, bytes] = {}
        with TemporaryDirectory() as folder:
            if make_lake_for(cell.verb, job, folder):
                self._template = read_lake(Objects.open(folder))
        self._before = set(filter(_tells, self._template))

    def run(self, kills: int, chance: random.Random) -> Tally:
        """Learn how it goes undisturbed, then kill."""
        self._undisturbed()
        tally = Tally(self._cell.name, self._seconds, self._work_seconds)
        targets = self._cell.site.targets
        for _ in range(kills * _DRAWS_PER_KILL):
            number = len(tally.kills)
            if number == kills:
                break
            target, over = targets[number % len(targets)], _SPANS[number // len(targets) % len(_SPANS)]
            kill = self._round(target, over, chance.random())
            if kill is None:
                tally.missed += 1
            else:
                tally.kills.append(kill)
        return tally

    def _undisturbed(self) -> None:
        driver, url = self._start()
        self._wait_for_work(driver, url)
        began = driver.seconds
        if driver.wait() != 0:
            raise RuntimeError(f"{self._cell.name} fails without a kill: {driver.words()[-2000:]}")
        self._seconds = driver.seconds
        self._work_seconds = self._seconds - began
        self._counts = driver.run()["counts"]
        if not self._counts.get("stored"):
            raise RuntimeError(f"{self._cell.name} stores nothing: {self._counts}")
        self._content = content(open_lake(url, key=self._job.key))

    def _start(self) -> tuple[Driver, str]:
        url = self._cell.new_url()
        write_lake(self._template, url)
        self._cell.site.ready()
        words = self._job.arguments(self._cell.verb, url, self._cell.site.url)
        return self._drivers.start(*words), url

    def _round(self, target: str, over: str, share: float) -> Kill | None:
        driver, url = self._start()
        if over == "run":
            helpers = self._kill(driver, target, share * self._seconds)
        else:
            self._wait_for_work(driver, url)
            helpers = self._kill(driver, target, driver.seconds + share * self._work_seconds)
        seconds = driver.seconds
        written = self._written(url)
        status = driver.wait()
        if helpers is None or (target == "driver" and status != -signal.SIGKILL):
            return None
        faults = [] if target == "driver" else self._went_on(driver, status)
        faults += self._run_again(open_lake(url, key=self._job.key))
        faults += _not_gone(helpers)
        faults += self._faults(url)
        return Kill(target, over, seconds, written, tuple(faults))

    def _faults(self, url: str) -> list[str]:
        if not is_remote(url):
            return faults_of(open_lake(url, key=self._job.key), self._content)
        with TemporaryDirectory() as folder:
            # A server in Python takes longer to hand out everything several times than all the rest takes.
            write_lake(read_lake(Objects.open(url)), folder)
            return faults_of(open_lake(folder, key=self._job.key), self._content)

    def _written(self, url: str) -> bool:
        return set(filter(_tells, Objects.open(url).list(""))) != self._before

    def _wait_for_work(self, driver: Driver, url: str) -> None:
        """Wait until the run has written something, or is over."""
        while driver.status(_POLL_SECONDS) is None and not self._written(url):
            pass

    def _kill(self, driver: Driver, target: str, seconds: float) -> list[int] | None:
        """Kill one process when it is time; None where there is none any more."""
        site = self._cell.site
        if driver.status(seconds - driver.seconds) is not None:
            return None
        while not (alive := site.alive(driver, target)):
            # No worker has been started yet, or none is left.
            if driver.status(_LOOK_SECONDS) is not None:
                return None
        helpers = site.helpers(driver)
        victim = alive[int(seconds * 1e6) % len(alive)]
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
            site.killed(victim)
            return helpers
        return None

    def _went_on(self, driver: Driver, status: int) -> list[str]:
        """What is wrong with a run that has lost a worker: it is to end as if nothing had happened."""
        if status != 0:
            return [f"the driver ended with {status}: {driver.words()[-500:]}"]
        return self._unlike(driver.run(), self._counts)

    def _run_again(self, lake: Lake) -> list[str]:
        run = run_verb(self._cell.verb, self._job, lake, self._cell.site.engine)
        counts = run["counts"]
        if counts.get("seen", 0) != sum(counts.get(name, 0) for name in OUTCOMES):
            return [f"run again, it does not balance: {counts}"]
        # What was stored before the kill is there already.
        return [f"run again: {one}" for one in self._unlike(run, self._counts)]

    def _unlike(self, run: Mapping[str, Any], expected: Mapping[str, int]) -> list[str]:
        counts = run["counts"]
        if self._cell.verb == "compact":
            return [f"failed: {counts} {run.get('reasons')}"] if counts.get("failed") else []
        if _joined(counts) == _joined(expected):
            return []
        return [f"counts {counts}, expected {expected} ({run.get('reasons')})"]


def _tells(path: str) -> bool:
    """Whether an object is work: settings are written before anything else."""
    return not path.endswith(".toml")


def _joined(counts: Mapping[str, int]) -> Counter[str]:
    """What was stored now or earlier is one and the same."""
    joined = Counter(counts)
    joined["stored"] += joined.pop("already", 0)
    return +joined


def _not_gone(pids: list[int]) -> list[str]:
    until = time.monotonic() + _LEAVE_SECONDS
    while time.monotonic() < until and any(map(is_alive, pids)):
        time.sleep(0.02)
    return [f"worker {pid} outlives its driver" for pid in pids if is_alive(pid)]
