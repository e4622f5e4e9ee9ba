"""Drivers to be killed: the command line in a process of its own, with small batches, and its workers.

All drivers are forked from one process that has done nothing but imports, so that the run of a driver is work
and not imports, and a hundred of them are affordable. It has no threads of its own and has opened nothing.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Driver", "Drivers", "children_of", "cluster_children", "is_alive", "pool_workers"]

# Tiny jobs have many groups, commits and packs this way.
_DRIVERS = """
import json, os, sys
import voxlake.lake.compact, voxlake.lake.compact_packs, voxlake.lake.ingest, voxlake.lake.recorder
import voxlake.volumes.prepare, voxlake.cli.command, voxlake.store.compaction
from voxlake.cli.main import run
if sys.argv[1] == "dask":
    import voxlake.engine.dask_mapping
voxlake.lake.recorder._SECONDS_BETWEEN_COMMITS = 0.0
voxlake.lake.ingest._GROUP_FILES = 4
voxlake.lake.ingest._WINDOW_GROUPS_PER_WORKER = 2
voxlake.volumes.prepare._WINDOW_GROUPS_PER_WORKER = 1
voxlake.lake.compact_packs._SMALL = 64 * 1024
voxlake.lake.compact_packs._TARGET = 24 * 1024
print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    pid = os.fork()
    if pid == 0:
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor, of in ((0, nothing), (1, log), (2, log)):
            os.dup2(of, descriptor)
        sys.exit(run(order["arguments"]))
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
_SECONDS = 300.0


class Drivers:
    """Starts drivers, one at a time.

    Parameters
    ----------
    folder : Path
        For what they print.
    cluster : bool
        Whether they are going to use Dask.
    environment : mapping of str to str
        Added to that of this process.
    """

    def __init__(self, folder: Path, *, cluster: bool, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, "-c", _DRIVERS, "dask" if cluster else ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            bufsize=0,
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process that starts drivers cannot be spoken to")
        self._orders, self._answers = self._process.stdin, self._process.stdout
        if self._line() != "ready":
            raise RuntimeError("the process that starts drivers did not come up")

    def start(self, *arguments: str) -> Driver:
        """Start ``voxlake`` with these arguments; wait for its end before the next one."""
        log = self._folder / f"driver-{self._count}.log"
        self._count += 1
        order = {"arguments": arguments, "log": str(log)}
        self._orders.write(json.dumps(order).encode() + b"\n")
        return Driver(self, int(self._line()), log)

    def status(self, seconds: float) -> int | None:
        """Exit status of the driver; None if it has none after so many seconds."""
        ready, _, _ = select.select([self._answers], [], [], max(0.0, seconds))
        return int(self._line()) if ready else None

    def _line(self) -> str:
        return self._answers.readline().decode().strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


class Driver:
    """A running driver.

    Attributes
    ----------
    pid : int
        Its process.
    log : Path
        What it prints.
    """

    def __init__(self, drivers: Drivers, pid: int, log: Path) -> None:
        self.pid, self.log = pid, log
        self._drivers = drivers
        self._began = time.monotonic()
        self._status: int | None = None

    def status(self, seconds: float = 0.0) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        if self._status is None:
            self._status = self._drivers.status(seconds)
        return self._status

    @property
    def seconds(self) -> float:
        """Since its start."""
        return time.monotonic() - self._began

    def wait(self) -> int:
        """Wait for its end."""
        status = self.status(_SECONDS)
        if status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.status(_SECONDS)
            raise TimeoutError(f"the driver hung: {self.words()}")
        return status

    def run(self) -> dict[str, Any]:
        """What it printed with ``--json``."""
        for line in reversed(self.words().splitlines()):
            with suppress(json.JSONDecodeError):
                found: dict[str, Any] = json.loads(line)
                return found
        raise ValueError(f"the driver said nothing of its run: {self.words()}")

    def words(self) -> str:
        """Everything that it printed."""
        return self.log.read_text()


def children_of(pid: int) -> list[int]:
    """Children of a process; none where it is gone (Linux)."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def pool_workers(driver: int) -> list[int]:
    """Workers of a driver with the engine ``processes``: what its fork server has forked."""
    servers = [child for child in children_of(driver) if b"forkserver" in _command(child)]
    return [worker for server in servers for worker in children_of(server)]


def cluster_children(worker: int) -> list[int]:
    """Children of a Dask worker that work on items."""
    return [child for child in children_of(worker) if b"serve_cluster" in _command(child)]


def is_alive(pid: int) -> bool:
    """Whether a process is there and not dead and waiting for its burial."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
