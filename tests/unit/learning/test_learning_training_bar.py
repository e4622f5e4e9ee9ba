"""A training says how far it is while it learns, and learns the same."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import Tensor

from voxlake.engine.progress import ProgressBar
from voxlake.learning.checkpoint import EpochRecord
from voxlake.learning.data import Samples, make_samples
from voxlake.learning.fit_samples import fit_samples
from voxlake.learning.loop import FitResult, StepRecord
from voxlake.learning.objectives.make import make_objective
from voxlake.learning.settings import TrainingSettings
from voxlake.learning.training_bar import TrainingBar, training_bar
from voxlake.networks.cnn import CNNSettings
from voxlake.networks.registry import build


def samples(count: int, seed: int) -> Samples:
    images = np.random.default_rng(seed).normal(size=(count, 8, 8))
    names = [str(number) for number in range(count)]
    labels = ["sick" if number % 2 else "well" for number in range(count)]
    return make_samples(images, labels, classes=["well", "sick"], groups=names, ids=names)


def fitted(**more: object) -> tuple[FitResult, dict[str, Tensor]]:
    settings = TrainingSettings.read({"epochs": 2, "batch_size": 4, "threads": 1})
    train = samples(10, 0)
    small = CNNSettings.read({"dimensions": 2, "blocks": [2]})
    network = build("cnn", small, in_channels=1, outputs=2, shape=(8, 8), seed=0)
    objective = make_objective("classification", train, settings)
    result = fit_samples(network, train, samples(6, 1), objective, settings, **more)
    return result, network.state_dict()


def test_every_step_is_told_and_changes_nothing() -> None:
    told: list[StepRecord] = []
    result, weights = fitted(on_step=told.append)
    assert [one[:3] for one in told] == [(epoch, step, 3) for epoch in (1, 2) for step in (1, 2, 3)]
    assert [told[2].train_loss, told[5].train_loss] == [record.train_loss for record in result.history]
    assert told[0].train_loss != told[1].train_loss
    silent, others = fitted()
    assert [one.train_loss for one in silent.history] == [one.train_loss for one in result.history]
    assert all(torch.equal(weights[name], others[name]) for name in weights)


class Line:
    """What a progress bar was told."""

    def __init__(self) -> None:
        self.said: list[tuple[int, str]] = []
        self.bar = ProgressBar(lambda count, note: self.said.append((count, note)))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def record(epoch: int, loss: float) -> EpochRecord:
    return EpochRecord(epoch, loss, {"loss": loss}, 0.1, 1.0)


def test_the_bar_moves_within_an_epoch_but_a_few_times_a_second(clock: list[float]) -> None:
    line = Line()
    shown = TrainingBar(line.bar, 3, [1000, 10], lambda one: f"validation {one.figures['loss']:.1f}")
    with shown.fold(0) as fold:
        for step in range(1, 1001):
            clock[0] += 0.001
            fold.on_step(StepRecord(1, step, 1000, None if step == 1 else 1 / step))
        within = list(line.said)
        fold.on_epoch(record(1, 0.5))
        clock[0] += 1
        fold.on_step(StepRecord(2, 1, 1000, 0.25))
    assert [count for count, _ in within] == [1, 251, 501, 751]
    assert within[0][1] == "fold 1/2, epoch 1/3"
    assert within[2][1] == "fold 1/2, epoch 1/3, loss 0.002"
    assert line.said[4:] == [
        (1000, "fold 1/2, epoch 1/3, validation 0.5"),
        (1001, "fold 1/2, epoch 2/3, loss 0.250, validation 0.5"),
        # It stopped early.
        (3000, ""),
    ]
    with shown.fold(1) as fold:
        # The first epoch was done by a run that was killed.
        clock[0] += 1
        fold.on_step(StepRecord(2, 5, 10, 0.25))
    assert line.said[-2:] == [(3015, "fold 2/2, epoch 2/3, loss 0.250"), (3030, "")]


def test_it_is_shown_on_stderr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    said = "validation {0.epoch}".format
    with training_bar(2, [3], said, enabled=True) as shown, shown.fold(0) as fold:
        fitted(on_step=fold.on_step, on_epoch=fold.on_epoch)
    lines = capsys.readouterr().err
    assert "6/6" in lines
    assert "fold 1/1, epoch 2/2, validation 2" in lines
    with training_bar(2, [3], said, enabled=False) as shown, shown.fold(0) as fold:
        fitted(on_step=fold.on_step, on_epoch=fold.on_epoch)
    assert capsys.readouterr().err == ""
