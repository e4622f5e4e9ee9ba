"""A real S3 endpoint for tests: moto's server in a process of its own, and a bad network before it.

In a process of its own, because a library that waits for an answer while it holds Python's lock would wait
for ever for a server in the same process. Needs ``moto[server]``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["S3Server", "proxied", "s3_server"]

_SERVER = """
import sys, time, moto.server
server = moto.server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
_SECONDS = 60.0


@dataclass(frozen=True)
class S3Server:
    """An endpoint that speaks S3.

    Parameters
    ----------
    endpoint : str
        With scheme and port.
    direct : str
        The endpoint without a proxy before it.
    """

    endpoint: str
    direct: str

    def bucket(self, name: str) -> None:
        """Make a bucket."""
        request = urllib.request.Request(f"{self.direct}/{name}", method="PUT")  # noqa: S310 - our own server
        with urllib.request.urlopen(request, timeout=_SECONDS):  # noqa: S310 - our own server
            pass

    def url(self, bucket: str, prefix: str) -> str:
        """URL of a lake."""
        return f"s3://{bucket}/{prefix}?endpoint={self.endpoint}&region=us-east-1"


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """An S3 server that takes any credentials; what it holds is gone at the end."""
    with _child([sys.executable, "-c", _SERVER]) as port:
        endpoint = f"http://127.0.0.1:{port}"
        yield S3Server(endpoint, endpoint)


@contextmanager
def proxied(
    server: S3Server, *, faults: float = 0.0, seed: int = 0, certificate: tuple[Path, Path] | None = None
) -> Iterator[S3Server]:
    """The same server behind a proxy.

    Parameters
    ----------
    server : S3Server
        The server.
    faults : float
        Share of requests that end badly; see `voxlake.testing.faulty_proxy`.
    seed : int
        Of the faults.
    certificate : (Path, Path), optional
        Certificate and key, PEM: the proxy then speaks HTTPS, as ``localhost``.
    """
    target = server.direct.rpartition(":")[2]
    files = [str(file) for file in certificate or ()]
    command = [sys.executable, "-m", "voxlake.testing.faulty_proxy", target, str(faults), str(seed), *files]
    with _child(command) as port:
        place = f"https://localhost:{port}" if certificate else f"http://127.0.0.1:{port}"
        yield S3Server(place, server.direct)


@contextmanager
def _child(command: Sequence[str]) -> Iterator[int]:
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout is not None else ""
            if not line.strip():
                raise RuntimeError("the server of the test did not start; is moto[server] installed?")
            yield int(line)
        finally:
            process.kill()
