"""Objectives: losses as by hand, probabilities that are some, figures that tell epochs apart."""

from __future__ import annotations

import math
import pickle
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from voxlake.core.errors import UsageError
from voxlake.learning.data import Samples, no_targets
from voxlake.learning.objectives.classification import Classification
from voxlake.learning.objectives.make import make_objective
from voxlake.learning.objectives.multilabel import Multilabel
from voxlake.learning.objectives.ordinal import Ordinal
from voxlake.learning.objectives.reconstruction import ImageReconstruction
from voxlake.learning.objectives.regression import Regression
from voxlake.learning.settings import TrainingSettings

NAN = math.nan


class Reconstructed(NamedTuple):
    values: Tensor
    penalty: Tensor
    weights: Tensor | None


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _samples(targets: Tensor, classes: tuple[str, ...] = ()) -> Samples:
    count = len(targets)
    names = tuple(str(number) for number in range(count))
    return Samples((_random(count, 1, 4, 4),), targets, classes, names, names)


def _settings(**changes: object) -> TrainingSettings:
    return TrainingSettings.read(changes)


CASES = {
    "classification": (
        Classification(torch.tensor([1.0, 2.0, 0.5]), 0.1),
        _random(9, 3),
        torch.tensor([0, 1, 2] * 3),
    ),
    "multilabel": (
        Multilabel(torch.tensor([[1.0, 3.0], [1.0, 1.0]])),
        _random(6, 2),
        torch.tensor([[1, 0], [0, NAN], [1, 1], [NAN, 0], [0, 1], [0, 0]]),
    ),
    "ordinal": (Ordinal(torch.tensor([1.0, 2.0, 1.0])), _random(6, 2), torch.tensor([0, 1, 2, 2, 1, 0])),
    "regression": (Regression(50.0, 10.0), _random(6, 1), 50 + 10 * _random(6, seed=1)),
    "reconstruction": (
        ImageReconstruction("l1"),
        Reconstructed(_random(4, 1, 3, 3), torch.tensor(0.5), None),
        _random(4, 1, 3, 3, seed=1),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_loss_of_two_batches_is_the_weighted_mean_of_both(name):
    objective, output, targets = CASES[name]
    parts = [slice(0, 2), slice(2, None)]

    def part(one):
        if isinstance(output, Reconstructed):
            return Reconstructed(output.values[one], output.penalty, None)
        return output[one]

    losses = [objective.loss(part(one), targets[one]) for one in parts]
    weights = [objective.weight(targets[one]) for one in parts]
    whole = objective.loss(output, targets)
    assert whole.ndim == 0
    assert whole.dtype == torch.float32
    assert float(whole) == pytest.approx(float(np.average(losses, weights=weights)), rel=1e-5)
    assert objective.weight(targets) == pytest.approx(sum(weights))


@pytest.mark.parametrize("name", CASES)
def test_an_objective_travels_and_takes_half_precision(name):
    objective, output, targets = CASES[name]
    again = pickle.loads(pickle.dumps(objective))
    assert float(again.loss(output, targets)) == float(objective.loss(output, targets))
    halves = (
        Reconstructed(output.values.bfloat16(), output.penalty, None)
        if isinstance(output, Reconstructed)
        else output.bfloat16()
    )
    assert objective.loss(halves, targets).dtype == torch.float32
    figures = objective.figures(output, targets)
    assert all(isinstance(objective.larger_is_better(figure), bool) for figure in figures)
    with pytest.raises(UsageError, match=r"monitor = 'los'.*did you mean 'loss'"):
        objective.larger_is_better("los")


def test_unknown_labels_count_nothing():
    objective, output, targets = CASES["multilabel"]
    probability = torch.sigmoid(output.double()).numpy()
    terms, weights = [], []
    for (row, label), truth in np.ndenumerate(targets.numpy()):
        if not np.isnan(truth):
            said = probability[row, label] if truth else 1 - probability[row, label]
            weights.append(3.0 if truth and label == 0 else 1.0)
            terms.append(-np.log(said))
    assert float(objective.loss(output, targets)) == pytest.approx(
        np.average(terms, weights=weights), rel=1e-5
    )
    output = output.clone().requires_grad_()
    objective.loss(output, targets).backward()
    assert bool((output.grad[torch.isnan(targets)] == 0).all())
    none = torch.full((2, 2), NAN)
    assert float(objective.loss(output[:2].detach(), none)) == 0
    figures = objective.figures(output.detach(), targets)
    right = (probability >= 0.5) == (targets.numpy() == 1)
    assert figures["accuracy"] == pytest.approx(right[~torch.isnan(targets).numpy()].mean())


def test_ordinal_probabilities_sum_to_one_and_follow_the_cuts():
    objective, _, _ = CASES["ordinal"]
    output = _random(50, 2, seed=3) * 5
    said = objective.answers(output)
    np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-12)
    assert said.min() >= 0
    first = torch.sigmoid(output[:, 0].double()).numpy()
    second = torch.sigmoid(output[:, 0] - torch.nn.functional.softplus(output[:, 1])).double().numpy()
    np.testing.assert_allclose(said[:, 0], 1 - first, atol=1e-6)
    np.testing.assert_allclose(said[:, 2], second, atol=1e-6)
    truth = torch.tensor([2])
    by_hand = -np.log(first[0]) - np.log(second[0])
    assert float(objective.loss(output[:1], truth)) == pytest.approx(by_hand, rel=1e-4)


def test_ordinal_figures_know_how_far_off_a_call_is():
    objective = Ordinal(torch.ones(4))
    # Logits that call class 3, 0 and 1.
    output = torch.tensor([[9.0, -9.0, -9.0], [-9.0, 0.0, 0.0], [1.0, 9.0, 0.0]])
    figures = objective.figures(output, torch.tensor([1, 0, 1]))
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["mean_absolute_error"] == pytest.approx(2 / 3)
    assert figures["quadratic_kappa"] < 1
    assert objective.figures(output, torch.tensor([3, 0, 1]))["quadratic_kappa"] == 1


def test_numbers_are_learned_in_standard_deviations_and_told_in_their_unit():
    train = _samples(torch.tensor([10.0, 30.0, 50.0, 70.0]))
    objective = make_objective("regression", train, _settings(loss="mse"))
    assert isinstance(objective, Regression)
    assert (objective.mean, objective.spread) == (40.0, pytest.approx(math.sqrt(500)))
    output = torch.tensor([[0.0], [1.0]])
    np.testing.assert_allclose(objective.answers(output), [40, 40 + math.sqrt(500)])
    truth = torch.tensor([40.0, 40.0])
    assert float(objective.loss(output, truth)) == pytest.approx(0.5)
    figures = objective.figures(output, torch.tensor([30.0, 60.0]))
    assert figures["mean_absolute_error"] == pytest.approx((10 + math.sqrt(500) - 20) / 2, rel=1e-6)
    huber = make_objective("regression", train, _settings())
    far = torch.tensor([[3.0]])
    assert float(huber.loss(far, torch.tensor([40.0]))) == pytest.approx(2.5)
    with pytest.raises(UsageError, match="all equal"):
        make_objective("regression", _samples(torch.ones(3)), _settings())


def test_a_reconstruction_counts_where_it_is_told_to():
    objective = ImageReconstruction("mse")
    values, images = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    images[0] = 3
    weights = torch.zeros(2, 1, 2, 2)
    weights[0, 0, 0, 0] = 1
    output = Reconstructed(values, torch.tensor(0.25), weights)
    assert float(objective.loss(output, images)) == pytest.approx(9.25)
    assert objective.figures(output, images) == {"loss": pytest.approx(9.25), "error": pytest.approx(5.0)}
    np.testing.assert_allclose(objective.errors(output, images), [9, 1])
    assert objective.answers(output).shape == (2, 1, 2, 2)
    with pytest.raises(UsageError, match="'huber' is for numbers"):
        make_objective("reconstruction", _samples(no_targets(2)), _settings(loss="huber"))


def test_balanced_weights_come_from_the_training_part():
    classes = ("a", "b")
    objective = make_objective(
        "classification", _samples(torch.tensor([0, 0, 0, 1]), classes), _settings(class_weights="balanced")
    )
    assert objective.weights.tolist() == pytest.approx([4 / 6, 2])
    targets = torch.tensor([[1.0, NAN], [0, 1], [0, 1], [0, NAN]])
    labels = make_objective("multilabel", _samples(targets, classes), _settings(class_weights="balanced"))
    assert labels.weights[0].tolist() == pytest.approx([4 / 6, 2])
    assert labels.weights[1].tolist() == pytest.approx([1.0, 0.5])
    ordinal = make_objective("ordinal", _samples(torch.tensor([0, 1]), classes), _settings())
    assert (ordinal.outputs, ordinal.weights.tolist()) == (1, [1.0, 1.0])


@pytest.mark.parametrize("name", ["classification", "multilabel", "ordinal", "regression"])
def test_a_loss_that_is_no_number_comes_back_alone(name):
    objective, output, targets = CASES[name]
    figures = objective.figures(torch.full_like(output, NAN), targets)
    assert list(figures) == ["loss"]
    assert math.isnan(figures["loss"])
