"""Several processes that learn together do what one does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from voxlake.learning.batch import Batch, share_of
from voxlake.learning.data import Samples
from voxlake.learning.fit_samples import fit_samples
from voxlake.learning.objectives.make import make_objective
from voxlake.learning.settings import TrainingSettings
from voxlake.learning.step import Place
from voxlake.learning.workers import add_gradients, flat_gradients, share_gradients
from voxlake.networks.cnn import CNNSettings
from voxlake.networks.registry import build

SETTINGS = {
    "epochs": 2,
    "batch_size": 7,
    "threads": 1,
    "precision": "float32",
    "class_weights": "balanced",
    "label_smoothing": 0.1,
    "clip": 0.5,
    "ema": 0.9,
    "augmentation": {"flip": ["row"], "noise": 0.1},
}


def _samples(count: int = 24, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.normal(size=(count, 1, 8, 8)).astype(np.float32))
    targets = torch.tensor([int(number % 3 == 0) for number in range(count)])
    images[targets == 1, :, 2:6, 2:6] += 2
    names = tuple(str(number) for number in range(count))
    return Samples((images,), targets, ("well", "sick"), names, names)


def _network() -> torch.nn.Module:
    settings = CNNSettings.read({"blocks": [4], "normalisation": "instance"})
    return build("cnn", settings, in_channels=1, outputs=2, shape=(8, 8), seed=0)


def _fitted(**changes: object):
    settings = TrainingSettings.read({**SETTINGS, **changes})
    network, train = _network(), _samples()
    objective = make_objective("classification", train, settings)
    result = fit_samples(network, train, _samples(9, 1), objective, settings)
    return network, result


@pytest.mark.parametrize("processes", [1, 2, 3, 9])
def test_summed_shares_are_the_gradients_of_the_whole_batch(processes):
    samples = _samples(7)
    settings = TrainingSettings.read(SETTINGS)
    objective = make_objective("classification", samples, settings)
    batch = Batch(samples.inputs, samples.targets)
    place = Place(torch.device("cpu"), "float32", torch.channels_last)
    network = _network()
    whole = objective.loss(network(samples.images), samples.targets)
    whole.backward()
    expected = [tensor.grad.clone() for tensor in network.parameters()]
    parts = [
        share_gradients(_network(), objective, batch, place, rank=rank, processes=processes)
        for rank in range(processes)
    ]
    assert sum(len(share_of(batch, rank, processes).targets) for rank in range(processes)) == 7
    other = _network()
    loss = add_gradients(other, torch.stack(parts).sum(dim=0))
    for found, wanted in zip(other.parameters(), expected, strict=True):
        torch.testing.assert_close(found.grad, wanted, atol=1e-6, rtol=1e-5)
    assert float(loss) == pytest.approx(float(whole.detach()))


def test_a_parameter_that_nobody_used_gets_no_gradient():
    network = torch.nn.ModuleDict({"used": torch.nn.Linear(2, 1), "idle": torch.nn.Linear(2, 1)})
    loss = network["used"](torch.ones(1, 2)).sum()
    loss.backward()
    flat = flat_gradients(network, loss.detach())
    other = torch.nn.ModuleDict({"used": torch.nn.Linear(2, 1), "idle": torch.nn.Linear(2, 1)})
    add_gradients(other, flat)
    assert other["used"].weight.grad.tolist() == [[1.0, 1.0]]
    assert other["idle"].weight.grad is None


@pytest.mark.slow
def test_two_processes_end_where_one_does():
    one, alone = _fitted()
    two, together = _fitted(processes=2)
    for first, second in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        torch.testing.assert_close(second, first, atol=1e-5, rtol=1e-5)
    for first, second in zip(alone.history, together.history, strict=True):
        assert second.train_loss == pytest.approx(first.train_loss, abs=1e-5)
        assert second.figures == pytest.approx(first.figures, abs=1e-5)
