"""Processes of one machine that learn together, a share of every batch each (torch.distributed, gloo)."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from voxlake.core.errors import EngineError, UsageError
from voxlake.learning.batch import Batch, BatchSource
from voxlake.learning.objectives.base import Objective
from voxlake.learning.runtime import torch_runtime
from voxlake.learning.seeds import derived_seed
from voxlake.learning.settings import TrainingSettings
from voxlake.learning.step import Place
from voxlake.learning.workers import add_gradients, share_gradients

__all__ = ["Orders", "open_team", "work"]

# The others wait while the first one validates, which may take hours.
_PATIENCE = timedelta(days=2)
_READY = b"ready\n"
_STOP, _LEARN = 0, 1
_START = "from voxlake.learning.processes import work; work()"


@dataclass(frozen=True)
class Orders:
    """What another process needs to know."""

    network: nn.Module
    train: BatchSource
    objective: Objective
    settings: TrainingSettings
    layout: str
    rank: int
    meeting_point: str


class _Team:
    """The first of several processes; it alone has optimiser, moving average and checkpoints."""

    def __init__(self, network: nn.Module, objective: Objective, settings: TrainingSettings, place: Place):
        self._network = network
        self._objective = objective
        self._settings = settings
        self._place = place

    def gradients(self, epoch: int, step: int, batch: Batch, scaler: torch.amp.GradScaler) -> Tensor:
        """See `Workers`; a processor needs no scaling."""
        del scaler
        try:
            _say(_LEARN, epoch, step)
            dist.broadcast(parameters_to_vector(self._network.parameters()).detach(), src=0)
            found = _share(
                self._network, self._objective, batch, self._place, self._settings, (epoch, step, 0)
            )
            dist.reduce(found, dst=0)
        except RuntimeError as error:
            raise EngineError(
                f"a process that took its share of each batch is gone ({type(error).__name__}); "
                "run again: the training goes on from its last checkpoint"
            ) from error
        return add_gradients(self._network, found)

    def stop(self) -> None:
        """Send the others home."""
        _say(_STOP, 0, 0)


@contextmanager
def open_team(
    network: nn.Module, train: BatchSource, objective: Objective, settings: TrainingSettings, place: Place
) -> Iterator[_Team]:
    """Start the other processes; they end with the context.

    Raises
    ------
    UsageError
        A group of processes is already there.
    EngineError
        A process does not start.
    """
    if dist.is_initialized():
        raise UsageError("torch.distributed is in use already; set processes = 1")
    with tempfile.TemporaryDirectory() as folder:
        meeting_point = (Path(folder) / "meeting").as_uri()
        others: list[subprocess.Popen[bytes]] = []
        try:
            for rank in range(1, settings.processes):
                others.append(subprocess.Popen([sys.executable, "-c", _START], stdin=-1, stdout=-1))
                layout = str(place.layout).rpartition(".")[2]
                _brief(others[-1], Orders(network, train, objective, settings, layout, rank, meeting_point))
            for other in others:
                _await(other)
            _join(meeting_point, 0, settings.processes)
            team = _Team(network, objective, settings, place)
            yield team
            team.stop()
            for other in others:
                other.wait(timeout=60)
        finally:
            for other in others:
                other.kill()
                other.wait()
                for pipe in (other.stdin, other.stdout):
                    if pipe is not None:
                        pipe.close()
            if dist.is_initialized():
                dist.destroy_process_group()


def work() -> None:
    """What another process does: learn from its share of every batch until it is sent home."""
    # Sent by the process that started this one, through a pipe that nobody else can write to.
    orders: Orders = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 - see above
    place = Place(torch.device("cpu"), orders.settings.precision, getattr(torch, orders.layout))
    place.put(orders.network)
    orders.network.train()
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    try:
        _join(orders.meeting_point, orders.rank, orders.settings.processes)
        with torch_runtime(orders.settings.threads, orders.settings.seed):
            _learn(orders, place)
    except RuntimeError as error:
        # The first process was killed: there is nobody to tell, and nothing to keep.
        raise SystemExit(f"the training ended: {error}") from None


def _learn(orders: Orders, place: Place) -> None:
    weights = parameters_to_vector(orders.network.parameters()).detach()
    batches: Iterator[Batch] = iter(())
    at = (0, 0)
    while True:
        command, epoch, step = _listen()
        if command == _STOP:
            return
        dist.broadcast(weights, src=0)
        with torch.no_grad():
            vector_to_parameters(weights, orders.network.parameters())
        if (epoch, step) != at:
            batches = orders.train.epoch(epoch)
            for _ in range(step):
                next(batches)
        found = _share(
            orders.network,
            orders.objective,
            next(batches),
            place,
            orders.settings,
            (epoch, step, orders.rank),
        )
        dist.reduce(found, dst=0)
        at = (epoch, step + 1)


def _share(
    network: nn.Module,
    objective: Objective,
    batch: Batch,
    place: Place,
    settings: TrainingSettings,
    when: tuple[int, int, int],
) -> Tensor:
    epoch, step, rank = when
    torch.manual_seed(derived_seed(settings.seed, "dropout", epoch, step, rank))
    return share_gradients(network, objective, batch, place, rank=rank, processes=settings.processes)


def _join(meeting_point: str, rank: int, processes: int) -> None:
    dist.init_process_group(
        "gloo", init_method=meeting_point, rank=rank, world_size=processes, timeout=_PATIENCE
    )


def _say(command: int, epoch: int, step: int) -> None:
    dist.broadcast(torch.tensor([command, epoch, step]), src=0)


def _listen() -> tuple[int, int, int]:
    said = torch.zeros(3, dtype=torch.int64)
    dist.broadcast(said, src=0)
    command, epoch, step = said.tolist()
    return command, epoch, step


def _brief(other: subprocess.Popen[bytes], orders: Orders) -> None:
    if other.stdin is None:
        raise EngineError("a process was started without a pipe to it")
    try:
        other.stdin.write(pickle.dumps(orders))
        other.stdin.close()
    except BrokenPipeError:
        raise EngineError(f"process {orders.rank} ended before it began, see what it wrote") from None


def _await(other: subprocess.Popen[bytes]) -> None:
    if other.stdout is None or other.stdout.readline() != _READY:
        raise EngineError(
            "a process that should take its share of each batch did not start, see what it wrote"
        )
