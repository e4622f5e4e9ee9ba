"""Schedules, optimisers, class weights and the moving average."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from voxlake.learning.optimisation import class_weights, learning_rate, make_optimiser, update_average
from voxlake.learning.runtime import autocast, torch_runtime
from voxlake.learning.settings import TrainingSettings
from voxlake.networks.inference_runtime import precision_of


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("none", {0.0: 1.0, 0.5: 1.0, 0.99: 1.0}),
        ("cosine", {0.0: 1.0, 0.5: 0.5, 1.0: 0.0}),
        ("one_cycle", {0.0: 0.04, 0.125: 0.52, 0.25: 1.0, 0.625: 0.5, 1.0: 0.0}),
    ],
)
def test_schedules_at_known_points(schedule, expected):
    settings = TrainingSettings(learning_rate=1.0, schedule=schedule)
    for progress, rate in expected.items():
        assert learning_rate(settings, progress) == pytest.approx(rate, abs=1e-9)


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
def test_optimisers_go_downhill(optimiser):
    layer = nn.Linear(3, 1)
    steps = make_optimiser(layer, TrainingSettings(optimiser=optimiser, learning_rate=0.05))
    inputs = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    targets = inputs @ torch.tensor([[1.0], [-2.0], [0.5]])
    losses = []
    for _ in range(200):
        steps.zero_grad()
        loss = ((layer(inputs) - targets) ** 2).mean()
        torch.autograd.backward(loss)
        steps.step()
        losses.append(loss.item())
    assert losses[-1] < 0.02 * losses[0]


def test_first_adamw_step_is_the_one_of_the_paper():
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 2.0)
    steps = make_optimiser(layer, TrainingSettings(optimiser="adamw", learning_rate=0.1, weight_decay=0.5))
    torch.autograd.backward(3 * layer(torch.ones(1, 1)).sum())
    steps.step()
    assert layer.weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1, abs=1e-6)


def test_balanced_class_weights_make_classes_count_the_same():
    targets = torch.tensor([0] * 6 + [1] * 2)
    weights = class_weights(targets, 2, TrainingSettings(class_weights="balanced"))
    assert weights.tolist() == pytest.approx([8 / 12, 2.0])
    assert weights[targets].mean().item() == pytest.approx(1)
    assert class_weights(targets, 2, TrainingSettings()).tolist() == [1, 1]
    assert torch.isfinite(class_weights(targets, 3, TrainingSettings(class_weights="balanced"))).all()


def test_the_moving_average_forgets_its_start_and_counts_whole_numbers():
    average, network = (nn.BatchNorm1d(1) for _ in range(2))
    with torch.no_grad():
        network.weight.fill_(5.0)
    network.num_batches_tracked.fill_(9)
    update_average(average, network, 0.99, 0)
    assert average.weight.item() == pytest.approx(5 - 0.1 * 4)
    assert average.num_batches_tracked.item() == 9
    with torch.no_grad():
        average.weight.fill_(0.0)
    update_average(average, network, 0.99, 10_000)
    assert average.weight.item() == pytest.approx(0.05)


def test_torch_is_left_as_it_was():
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    with torch_runtime(1, 3):
        assert torch.get_num_threads() == 1
        first = torch.rand(2)
        assert (torch.tensor([1e-39]) * 1.0).item() == 0.0
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert (torch.tensor([1e-39]) * 1.0).item() != 0.0
    with torch_runtime(None, 3):
        assert torch.equal(torch.rand(2), first)


def test_bfloat16_is_used_only_where_the_processor_has_it(monkeypatch):
    product = torch.ones(2, 2)
    with autocast("auto"):
        assert (product @ product).dtype == precision_of("auto")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert precision_of("auto") is torch.bfloat16
    with autocast("auto"):
        assert (product @ product).dtype == torch.bfloat16
    with autocast("float32"):
        assert (product @ product).dtype == torch.float32
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert precision_of("auto") is torch.float32
