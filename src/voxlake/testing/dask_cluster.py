"""A real Dask cluster on this machine, for tests: a scheduler and workers, each a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["TestCluster", "run_cluster"]

_START_SECONDS = 120.0


class TestCluster:
    """What was started, and where.

    Parameters
    ----------
    folder : Path
        For logs and what Dask puts on disk.
    scheme : str
        ``"tcp"`` or ``"tls"``.
    environment : mapping of str to str
        Added to that of each process.
    """

    __test__ = False

    def __init__(self, folder: Path, scheme: str, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.port = _free_port()
        self.address = f"{scheme}://127.0.0.1:{self.port}"
        self._environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        self._processes: list[subprocess.Popen[bytes]] = []
        host = f"{scheme}://127.0.0.1"
        self.scheduler = self._start("scheduler", "--host", host, "--port", str(self.port))

    def start_worker(self, *options: str) -> subprocess.Popen[bytes]:
        """Start one more worker of one thread."""
        place = str(self.folder / f"worker-{len(self._processes)}")
        return self._start("worker", self.address, "--nthreads", "1", "--local-directory", place, *options)

    def _start(self, kind: str, *arguments: str) -> subprocess.Popen[bytes]:
        log = self.folder / f"{kind}-{len(self._processes)}.log"
        command = [sys.executable, "-m", "dask", kind, "--no-dashboard", *arguments]
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command, stdout=stream, stderr=stream, env=self._environment, start_new_session=True
            )
        self._processes.append(process)
        return process

    def wait_for_scheduler(self) -> None:
        """Wait until the scheduler listens."""
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0):
                return
            time.sleep(0.05)
        raise TimeoutError(f"the scheduler did not start; see {self.folder}")

    def stop(self) -> None:
        """End all of it at once: nothing here is worth a farewell."""
        for process in self._processes:
            if process.poll() is None:
                # A nanny and its worker are one session.
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def run_cluster(
    folder: Path,
    *,
    workers: int = 2,
    scheme: str = "tcp",
    environment: Mapping[str, str] | None = None,
    options: tuple[str, ...] = ("--no-nanny",),
) -> Iterator[TestCluster]:
    """Run a cluster for the length of a block.

    Parameters
    ----------
    folder : Path
        For logs and what Dask puts on disk.
    workers : int
        How many, of one thread each.
    scheme : str
        ``"tcp"`` or ``"tls"``.
    environment : mapping of str to str, optional
        Added to that of each process.
    options : tuple of str
        Of each ``dask worker``.

    Yields
    ------
    TestCluster
        Once the scheduler listens; the workers may still be on their way.
    """
    cluster = TestCluster(folder, scheme, environment or {})
    try:
        for _ in range(workers):
            cluster.start_worker(*options)
        cluster.wait_for_scheduler()
        yield cluster
    finally:
        cluster.stop()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
