"""The training loop: it learns, repeats itself, and goes on where it was killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from voxlake.core.errors import IntegrityError, UsageError
from voxlake.learning.batch import Batch
from voxlake.learning.data import Samples, make_samples
from voxlake.learning.fit_samples import fit_samples
from voxlake.learning.inference import predict_probabilities
from voxlake.learning.loop import FitResult
from voxlake.learning.loop import fit as fit_batches
from voxlake.learning.objectives.make import make_objective
from voxlake.learning.sample_source import SampleSource
from voxlake.learning.settings import TrainingSettings
from voxlake.networks.cnn import CNNSettings
from voxlake.networks.recurrent import RecurrentSettings
from voxlake.networks.registry import build

HARD = {
    "epochs": 4,
    "batch_size": 10,
    "threads": 1,
    "ema": 0.9,
    "label_smoothing": 0.05,
    "class_weights": "balanced",
    "clip": 1.0,
    "augmentation": {"flip": ["row"], "shift": 0.1, "rotate": 10.0, "noise": 0.1, "intensity": 0.1},
}


def _samples(count: int = 48, seed: int = 0, shape: tuple[int, ...] = (12, 12)) -> Samples:
    """Noise; the sick have a bright square in the middle."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(count, *shape))
    labels = ["sick" if number % 3 == 0 else "well" for number in range(count)]
    centre = tuple(slice(extent // 2 - 2, extent // 2 + 2) for extent in shape)
    images[::3][(slice(None), *centre)] += 2.5
    return make_samples(
        images,
        labels,
        classes=["well", "sick"],
        groups=[str(number) for number in range(count)],
        ids=[str(number) for number in range(count)],
    )


def _network(dimensions: int = 2, seed: int = 0, **changes: object) -> nn.Module:
    settings = CNNSettings.read({"dimensions": dimensions, "blocks": [4, 8], "dropout": 0.2, **changes})
    return build("cnn", settings, in_channels=1, outputs=2, shape=(12,) * dimensions, seed=seed)


def _settings(**changes: object) -> TrainingSettings:
    return TrainingSettings.read({"epochs": 4, "threads": 1, "learning_rate": 0.01, **changes})


def fit(
    network: nn.Module, train: Samples, validation: Samples | None, settings: TrainingSettings, **more: object
) -> FitResult:
    """Fit a classifier."""
    objective = make_objective("classification", train, settings)
    return fit_samples(network, train, validation, objective, settings, **more)


def _weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def _equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_small_network_learns_what_can_be_seen(dimensions):
    shape = (12,) * dimensions
    network = _network(dimensions)
    test = _samples(60, 2, shape)
    result = fit(network, _samples(60, 0, shape), _samples(30, 1, shape), _settings(epochs=12, batch_size=12))
    probabilities = predict_probabilities(network, test.images)
    assert (probabilities.argmax(1) == test.targets.numpy()).mean() > 0.95
    assert result.history[-1].train_loss < 0.5 * result.history[0].train_loss
    assert not network.training


@pytest.mark.parametrize("changes", [{}, HARD, {"optimiser": "sgd", "momentum": 0.0}])
def test_equal_seeds_give_equal_weights(changes):
    settings = _settings(**{**changes, "epochs": 2})
    outcomes = []
    for _ in range(2):
        network = _network()
        fit(network, _samples(), _samples(20, 1), settings)
        outcomes.append(_weights(network))
        torch.rand(3)
    assert _equal(*outcomes)
    other = _network()
    fit(other, _samples(), _samples(20, 1), _settings(**{**changes, "epochs": 2, "seed": 1}))
    assert not _equal(outcomes[0], _weights(other))


class _Killed(Exception):
    pass


@pytest.mark.parametrize("killed_after", [1, 3])
@pytest.mark.parametrize("changes", [HARD, {"optimiser": "sgd"}, {"optimiser": "sgd", "momentum": 0.0}])
def test_a_killed_training_ends_at_the_same_weights(tmp_path, changes, killed_after):
    settings = _settings(**changes)
    undisturbed = _network()
    expected = fit(undisturbed, _samples(), _samples(20, 1), settings)

    def kill(record):
        if record.epoch == killed_after:
            raise _Killed

    with pytest.raises(_Killed):
        fit(_network(), _samples(), _samples(20, 1), settings, checkpoint_folder=tmp_path, on_epoch=kill)
    torch.rand(5)
    network, seen = _network(), []
    result = fit(
        network, _samples(), _samples(20, 1), settings, checkpoint_folder=tmp_path, on_epoch=seen.append
    )
    assert [record.epoch for record in seen] == list(range(killed_after + 1, 5))
    assert _equal(_weights(network), _weights(undisturbed))
    assert result.best_epoch == expected.best_epoch
    assert [r.figures for r in result.history] == [r.figures for r in expected.history]
    assert [r.train_loss for r in result.history] == [r.train_loss for r in expected.history]


SCRIPT = """
import os, pathlib, runpy, sys
module = runpy.run_path({path!r})
network, settings = module["_network"](), module["_settings"](**module["HARD"])
def kill(record):
    if record.epoch == 2:
        os.kill(os.getpid(), 9)
folder = pathlib.Path({folder!r})
parts = module["_samples"](), module["_samples"](20, 1)
module["fit"](network, *parts, settings, checkpoint_folder=folder, on_epoch=kill)
"""


def test_a_training_killed_by_the_system_goes_on_in_another_process(tmp_path):
    script = SCRIPT.format(path=__file__, folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert done.returncode == -9, done.stderr.decode()
    undisturbed, network, seen = _network(), _network(), []
    settings = _settings(**HARD)
    fit(undisturbed, _samples(), _samples(20, 1), settings)
    fit(network, _samples(), _samples(20, 1), settings, checkpoint_folder=tmp_path, on_epoch=seen.append)
    assert [record.epoch for record in seen] == [3, 4]
    assert _equal(_weights(network), _weights(undisturbed))


def test_a_finished_training_is_not_run_again(tmp_path):
    first, again = _network(), _network()
    settings = _settings()
    expected = fit(first, _samples(), _samples(20, 1), settings, checkpoint_folder=tmp_path)
    result = fit(
        again, _samples(), _samples(20, 1), settings, checkpoint_folder=tmp_path, on_epoch=pytest.fail
    )
    assert result == expected
    assert _equal(_weights(first), _weights(again))


@pytest.mark.parametrize("what", ["settings", "samples", "weights"])
def test_the_checkpoint_of_another_training_is_refused(tmp_path, what):
    fit(_network(), _samples(), None, _settings(epochs=1), checkpoint_folder=tmp_path)
    settings = _settings(epochs=1, learning_rate=0.02 if what == "settings" else 0.01)
    samples = _samples(seed=1 if what == "samples" else 0)
    network = _network(seed=1 if what == "weights" else 0)
    with pytest.raises(UsageError, match="another training"):
        fit(network, samples, None, settings, checkpoint_folder=tmp_path)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    fit(_network(), _samples(), None, _settings(epochs=1), checkpoint_folder=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(IntegrityError, match="not whole"):
        fit(_network(), _samples(), None, _settings(epochs=1), checkpoint_folder=tmp_path)


@pytest.mark.parametrize("monitor", ["loss", "roc_auc"])
def test_the_best_epoch_is_kept_and_patience_stops(monitor):
    # Labels of the validation part are the other way round: learning makes it worse.
    validation = _samples(30, 1)
    wrong = replace(validation, targets=1 - validation.targets)
    kept = {}
    network = _network(dropout=0.0)
    result = fit(
        network,
        _samples(),
        wrong,
        _settings(epochs=30, patience=3, monitor=monitor, schedule="none"),
        on_epoch=lambda record: kept.update({record.epoch: _weights(network)}),
    )
    values = [r.figures[monitor] * (1 if monitor == "loss" else -1) for r in result.history]
    assert result.stopped_early
    assert result.best_epoch == int(np.argmin(values)) + 1
    assert len(result.history) == result.best_epoch + 3
    assert _equal(_weights(network), kept[result.best_epoch])


def test_without_a_validation_part_the_last_epoch_counts():
    network, last = _network(), {}
    result = fit(network, _samples(), None, _settings(), on_epoch=lambda _: last.update(_weights(network)))
    assert result.best_epoch == 4
    assert result.history[0].figures == {}
    assert not result.stopped_early
    assert _equal(_weights(network), last)


def test_the_record_says_what_was_measured():
    network, validation = _network(dropout=0.0), _samples(30, 1)
    exact = _settings(epochs=1, schedule="none", precision="float32")
    result = fit(network, _samples(), validation, exact)
    probabilities = predict_probabilities(network, validation.images)
    chosen = probabilities[np.arange(30), validation.targets.numpy()]
    (record,) = result.history
    assert record.figures["loss"] == pytest.approx(-np.log(chosen).mean(), rel=1e-4)
    sick, well = probabilities[::3, 1], np.delete(probabilities[:, 1], np.s_[::3])
    assert record.figures["roc_auc"] == pytest.approx((sick[:, None] > well).mean(), abs=1e-6)
    assert record.learning_rate == 0.01
    assert result.seconds == record.seconds > 0


def test_a_loss_that_is_no_number_stops_with_advice():
    with pytest.raises(UsageError, match=r"lower learning_rate \(now 1e\+30\)"):
        fit(_network(normalisation="none"), _samples(), None, _settings(optimiser="sgd", learning_rate=1e30))


def test_parts_that_cannot_be_used_are_refused():
    with pytest.raises(UsageError, match="patience"):
        fit(_network(), _samples(), None, _settings(patience=2))
    with pytest.raises(UsageError, match="every class"):
        fit(_network(), _samples(), _samples(30, 1).take([0, 3]), _settings(monitor="roc_auc"))
    with pytest.raises(UsageError, match="differ"):
        fit(_network(), _samples(), _samples(30, 1, (12, 14)), _settings())


def test_probabilities_do_not_depend_on_the_batch_size_and_sum_to_one():
    network, samples = _network(), _samples(23)
    network.train()
    whole = predict_probabilities(network, samples.images, batch_size=23)
    assert network.training
    assert whole.dtype == np.float64
    np.testing.assert_allclose(whole.sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(predict_probabilities(network, samples.images, batch_size=4), whole, atol=1e-6)


class _Recorder(nn.Module):
    """Logits that do not depend on the image; remembers what it was shown while training."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor([0.3, -0.4]))
        self.shown: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.shown.append(images.clone())
        return self.bias.expand(len(images), 2)


def _shown_ids(recorder: _Recorder, samples: Samples) -> list[int]:
    known = {image.flatten()[0].item(): number for number, image in enumerate(samples.images)}
    return [known[image.flatten()[0].item()] for image in torch.cat(recorder.shown)]


def test_every_epoch_shows_every_sample_once_in_an_order_of_its_own():
    samples, recorder = _samples(), _Recorder()
    fit(recorder, samples, None, _settings(epochs=2, batch_size=10))
    shown = _shown_ids(recorder, samples)
    assert sorted(shown[:48]) == sorted(shown[48:]) == list(range(48))
    assert shown[:48] != shown[48:]
    assert {len(part) for part in recorder.shown} == {9, 10}


def test_augmentation_differs_from_epoch_to_epoch_and_spares_the_validation_part():
    samples, recorder = _samples(1), _Recorder()
    losses = []
    fit(
        recorder,
        samples,
        _samples(30, 1),
        _settings(epochs=2, augmentation={"noise": 0.5}),
        on_epoch=lambda record: losses.append(record.figures["loss"]),
    )
    first, second = recorder.shown
    assert not torch.equal(first, samples.images)
    assert not torch.equal(first, second)


def test_losses_are_those_of_the_formula():
    samples = _samples(45)
    changes = {"class_weights": "balanced", "label_smoothing": 0.2, "optimiser": "sgd", "learning_rate": 1e-9}
    (record,) = fit(
        _Recorder(), samples, _samples(6, 1), _settings(epochs=1, batch_size=45, **changes)
    ).history
    log_probability = np.log(np.exp([0.3, -0.4]) / np.exp([0.3, -0.4]).sum())
    # Balanced classes count the same, 15 sick and 30 well: each class is half of the mean.
    hit = log_probability.mean()
    assert record.figures["loss"] == pytest.approx(
        -(2 * 1.5 * log_probability[1] + 4 * 0.75 * log_probability[0]) / 6, rel=1e-5
    )
    spread = (0.75 * log_probability[0] + 1.5 * log_probability[1]) / 2
    assert record.train_loss == pytest.approx(-(0.8 * hit + 0.2 * spread), rel=1e-5)
    (uneven,) = fit(
        _Recorder(), samples, None, _settings(epochs=1, batch_size=30, optimiser="sgd", learning_rate=1e-9)
    ).history
    assert uneven.train_loss == pytest.approx(-(log_probability @ [30, 15]) / 45, rel=1e-5)


def test_gradients_are_clipped():
    recorder = _Recorder()
    plain = {"epochs": 1, "batch_size": 64, "optimiser": "sgd", "momentum": 0.0, "schedule": "none"}
    start = recorder.bias.detach().clone()
    fit(recorder, _samples(), None, _settings(**plain, learning_rate=1.0, weight_decay=0.0, clip=1e-3))
    assert (recorder.bias - start).norm().item() == pytest.approx(1e-3, rel=1e-3)


class _Interrupted(Exception):
    pass


class _Breaks:
    """A source that ends in the middle of an epoch."""

    def __init__(self, source: SampleSource, epoch: int, step: int) -> None:
        self.source, self.at = source, (epoch, step)

    @property
    def steps(self) -> int:
        return self.source.steps

    def digest(self) -> str:
        return self.source.digest()

    def epoch(self, number: int) -> Iterator[Batch]:
        for step, batch in enumerate(self.source.epoch(number)):
            if (number, step) == self.at:
                raise _Interrupted
            yield batch


def _sequences(count: int = 48, seed: int = 0) -> Samples:
    """Ragged sequences of vectors; those of class 1 rise."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, 6, 3)).astype(np.float32)
    targets = torch.tensor([number % 2 for number in range(count)])
    values[1::2] += np.linspace(-1, 1, 6, dtype=np.float32)[None, :, None]
    lengths = torch.from_numpy(rng.integers(3, 7, size=count))
    names = tuple(str(number) for number in range(count))
    return Samples((torch.from_numpy(values), lengths), targets, ("flat", "rising"), names, names, "sequence")


def _recurrent() -> nn.Module:
    settings = RecurrentSettings.read({"cell": "lstm", "hidden": 4, "layers": 2, "dropout": 0.2})
    return build("recurrent", settings, in_channels=3, outputs=2, shape=(6,), seed=0)


@pytest.mark.parametrize("kind", ["images", "sequences"])
@pytest.mark.parametrize("at", [(1, 3), (2, 2)])
def test_a_training_killed_within_an_epoch_ends_at_the_same_weights(tmp_path, kind, at):
    settings = _settings(**{**HARD, "epochs": 2, "precision": "float32", "checkpoint_every": 2})
    make, samples = (_network, _samples()) if kind == "images" else (_recurrent, _sequences())
    objective = make_objective("classification", samples, settings)
    source = SampleSource.of(samples, settings)
    undisturbed = make()
    expected = fit_batches(undisturbed, source, objective, settings)
    broken = _Breaks(source, *at)
    with pytest.raises(_Interrupted):
        fit_batches(make(), broken, objective, settings, checkpoint_folder=tmp_path)
    torch.rand(5)
    network = make()
    result = fit_batches(network, source, objective, settings, checkpoint_folder=tmp_path)
    assert _equal(_weights(network), _weights(undisturbed))
    assert [r.train_loss for r in result.history] == [r.train_loss for r in expected.history]


def test_a_recurrent_network_learns_and_is_validated():
    network, settings = _recurrent(), _settings(epochs=8, batch_size=6, precision="float32")
    train = _sequences(48)
    objective = make_objective("classification", train, settings)
    result = fit_samples(network, train, _sequences(20, 1), objective, settings)
    assert result.history[-1].figures["loss"] < result.history[0].figures["loss"]
    assert set(result.history[0].figures) == {"loss", "roc_auc", "accuracy"}


def test_figures_of_ones_own_choose_the_epoch():
    accuracies = iter([0.5, float("nan"), 0.75, 0.25])
    network, kept, samples = _network(), {}, _samples()
    settings = _settings(epochs=4, monitor="accuracy")
    result = fit_batches(
        network,
        SampleSource.of(samples, settings),
        make_objective("classification", samples, settings),
        settings,
        validate=lambda validated: {"accuracy": float("nan") if validated.training else next(accuracies)},
        on_epoch=lambda record: kept.update({record.epoch: _weights(network)}),
    )
    assert result.best_epoch == 3
    assert _equal(_weights(network), kept[3])


def test_a_figure_that_nobody_knows_is_refused():
    with pytest.raises(UsageError, match="'dice' is no figure of this objective"):
        fit(_network(), _samples(), _samples(20, 1), _settings(monitor="dice"))
    samples, settings = _samples(), _settings(monitor="accuracy")
    with pytest.raises(UsageError, match="monitor = 'accuracy', but validation gives loss"):
        fit_batches(
            _network(),
            SampleSource.of(samples, settings),
            make_objective("classification", samples, settings),
            settings,
            validate=lambda _: {"loss": 1.0},
        )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="torch sees no GPU"):
        fit(_network(), _samples(), None, _settings(device="cuda"))
    with pytest.raises(UsageError, match="'float16' is for a GPU"):
        fit(_network(), _samples(), None, _settings(precision="float16"))
