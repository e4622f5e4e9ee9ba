"""The contract of engines against a real Ray cluster: one on this machine, and one behind its client port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from voxlake.core.errors import EngineError
from voxlake.engine.contract import Engine
from voxlake.engine.open import open_engine
from voxlake.engine.ray import RayEngine
from voxlake.testing.engine_tasks import Guest, misbehave, negate, work_in
from voxlake.testing.engines import EngineContract, is_running, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
LOCAL = "ray://local?workers=2"


@pytest.fixture(scope="class")
def cluster() -> Iterator[None]:
    """Start Ray once; engines that are opened meanwhile use it."""
    with RayEngine(LOCAL):
        yield


@pytest.mark.usefixtures("cluster")
class TestRay(EngineContract):
    url = LOCAL
    # A driver of its own starts a Ray of its own.
    patience = 120.0


def actors() -> list[int]:
    """Processes of our actors on this machine."""
    found = []
    for status in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if status.read_bytes().startswith(b"ray::RayWorker"):
                found.append(int(status.parent.name))
    return found


@pytest.fixture
def head() -> Iterator[str]:
    """A cluster that others have started; the address of its client port."""
    script = Path(sys.executable).with_name("ray")
    with socket.socket() as probe, socket.socket() as other:
        probe.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        client, port = probe.getsockname()[1], other.getsockname()[1]
    process = subprocess.Popen(
        [
            script, "start", "--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1",
            f"--port={port}", f"--ray-client-server-port={client}", "--include-dashboard=false",
            "--disable-usage-stats",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def answers() -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", client), 1):
            return True
        return False

    try:
        assert wait_until(answers, 120)
        yield f"127.0.0.1:{client}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_a_cluster_behind_its_client_port(head: str) -> None:
    """Map, lose a child, lose an actor, stop early, and be used again."""
    with open_engine(f"ray://{head}?workers=2") as engine:
        assert engine.workers == 2
        assert sorted(one.value for one in engine.map(negate, range(100), batch=7)) == list(range(-99, 1))
        lost, fine = sorted(engine.map(misbehave, [Guest("kill"), Guest("behave")]), key=lambda o: o.index)
        assert lost.failure is not None
        assert (lost.failure.reason, lost.attempts, fine.value) == ("worker_died", 2, "fine")
        lose_an_actor(engine)
        outcomes = engine.map(work_in, [0.01] * 1000)
        assert next(outcomes).ok
        outcomes.close()
        assert [one.value for one in engine.map(negate, [1])] == [-1]
    assert wait_until(lambda: not actors(), 20)


def lose_an_actor(engine: Engine) -> None:
    """SIGKILL of a worker of Ray while it works: every item has its value, some needed two attempts."""
    killed: list[int] = []

    def kill() -> None:
        time.sleep(0.5)
        killed.append(actors()[0])
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    outcomes = list(engine.map(work_in, [0.05] * 60, batch=4))
    killer.join()
    assert killed
    assert not is_running(killed[0])
    assert sorted(one.index for one in outcomes) == list(range(60))
    assert all(one.ok for one in outcomes)
    assert 1 <= sum(one.attempts == 2 for one in outcomes) <= 4


@pytest.mark.usefixtures("cluster")
def test_a_killed_actor_costs_a_retry() -> None:
    with open_engine(LOCAL) as engine:
        assert len(list(engine.map(negate, range(20)))) == 20
        lose_an_actor(engine)


@pytest.mark.usefixtures("cluster")
def test_what_ray_was_told() -> None:
    """Nothing is reported, nothing listens to other machines, and the environment is as it was."""
    import ray
    from ray._private.worker import global_worker

    assert "RAY_USAGE_STATS_ENABLED" not in os.environ
    assert ray.nodes()[0]["NodeManagerAddress"] == "127.0.0.2"
    assert not global_worker.node.webui_url
    found = [
        environ.read_bytes()
        for environ in Path("/proc").glob("[0-9]*/environ")
        if b"/ray/" in (environ.parent / "cmdline").read_bytes()
    ]
    assert found
    assert all(b"RAY_USAGE_STATS_ENABLED=0" in one for one in found)


def test_a_cluster_that_is_not_there() -> None:
    with pytest.raises(EngineError, match="cannot be reached"):
        open_engine("ray://127.0.0.1:9")
