"""Networks over plain arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import voxlake
from voxlake.core.errors import SettingsError, UsageError
from voxlake.learning.arrays import fit_arrays
from voxlake.networks.cnn import CNNSettings
from voxlake.networks.registry import NETWORKS

TEXTBOOK = {"name": "cnn", "blocks": [32], "padding": "valid", "normalisation": "none", "head": "flatten"}
QUICK = {"epochs": 4, "learning_rate": 0.02, "threads": 1, "precision": "float32"}
SMALL = {"name": "cnn", "blocks": [4], "normalisation": "none"}


def _images(count: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise; of class 1 with a bright, of class 2 with a dark square."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(count, 8, 8))
    labels = np.arange(count) % 3
    images[labels == 1, 2:6, 2:6] += 3
    images[labels == 2, 2:6, 2:6] -= 3
    return images, labels


def test_the_textbook_network_is_what_the_textbook_says():
    images = np.zeros((20, 28, 28, 1), dtype=np.uint8)
    model = voxlake.fit_arrays(TEXTBOOK, images, np.arange(20) % 10, epochs=1, threads=1)
    textbook = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 13 * 13, 10)
    )
    learned = list(model.network.parameters())
    for own, other in zip(textbook.parameters(), learned, strict=True):
        own.data.copy_(other.data)
    shown = torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    # The same numbers; which comes first of the largest value and the activation is a matter of time.
    said, expected = model.network(shown), textbook(shown)
    torch.testing.assert_close(said, expected)
    for own, other in zip(
        torch.autograd.grad(expected.square().sum(), list(textbook.parameters())),
        torch.autograd.grad(said.square().sum(), learned),
        strict=True,
    ):
        torch.testing.assert_close(own, other)
    assert sum(tensor.numel() for tensor in model.network.parameters()) == 320 + 54080 + 10
    assert model.predict_proba(images).shape == (20, 10)


@pytest.mark.parametrize("names", [("a", "b", "c"), (3, 7, 11)])
def test_classes_keep_their_names(names):
    images, labels = _images()
    model = fit_arrays(SMALL, images, np.array(names)[labels], **{**QUICK, "epochs": 12})
    others, truth = _images(30, 1)
    assert model.classes == names
    said = model.predict(others)
    assert (said == np.array(names)[truth]).mean() > 0.9
    probabilities = model.predict_proba(others)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    figures = model.evaluate(others, np.array(names)[truth])
    assert figures["accuracy"] == (said == np.array(names)[truth]).mean()
    with pytest.raises(UsageError, match="label 'd' is none of the classes"):
        model.evaluate(others, ["d"] * 30)


def test_a_validation_part_chooses_the_epoch_and_settings_go_by_name():
    images, labels = _images()
    model = fit_arrays(CNNSettings.read({"blocks": [4]}), images, labels, validation=_images(30, 1), **QUICK)
    assert set(model.history[0].figures) == {"loss", "roc_auc", "accuracy"}
    with pytest.raises(SettingsError, match="unknown key 'epoch'; did you mean 'epochs'"):
        fit_arrays(SMALL, images, labels, epoch=3)
    with pytest.raises(SettingsError, match="did you mean 'cnn'"):
        fit_arrays("cnm", images, labels)
    with pytest.raises(UsageError, match="set kind = 'multilabel'"):
        fit_arrays(SMALL, images, np.eye(3)[labels])


def test_other_kinds_answer_in_their_own_terms():
    images, labels = _images()
    number = fit_arrays(SMALL, images, labels * 10.0, kind="regression", **{**QUICK, "epochs": 12})
    assert number.predict(images).shape == (60,)
    assert number.evaluate(images, labels * 10.0)["mean_absolute_error"] < 6
    with pytest.raises(UsageError, match="gives no probabilities"):
        number.predict_proba(images)
    order = fit_arrays(SMALL, images, labels, kind="ordinal", **QUICK)
    np.testing.assert_allclose(order.predict_proba(images).sum(axis=1), 1)
    assert set(order.predict(images).tolist()) <= {0, 1, 2}
    several = np.stack([labels == 1, labels == 2], axis=1).astype(float)
    several[::4, 0] = np.nan
    many = fit_arrays(SMALL, images, several, kind="multilabel", **QUICK)
    assert many.predict(images).shape == (60, 2)
    assert many.predict(images).dtype == bool


def test_tables_and_sequences_are_taken_as_they_are():
    rng = np.random.default_rng(0)
    table, labels = rng.normal(size=(40, 5)), np.arange(40) % 2
    table[labels == 1, 0] += 4
    model = fit_arrays({"name": "mlp", "hidden": [8]}, table, labels, **{**QUICK, "epochs": 10})
    assert model.evaluate(table, labels)["accuracy"] > 0.9
    steps, lengths = rng.normal(size=(40, 6, 5)), rng.integers(2, 7, 40)
    sequence = fit_arrays({"name": "recurrent", "hidden": 4}, (steps, lengths), labels, **QUICK)
    beyond = steps.copy()
    beyond[np.arange(6)[None] >= lengths[:, None]] = 99
    np.testing.assert_allclose(
        sequence.predict_proba((steps, lengths)), sequence.predict_proba((beyond, lengths)), atol=1e-6
    )


def test_images_and_a_table_together():
    images, labels = _images(24)
    table = np.random.default_rng(0).normal(size=(24, 3))
    network = {"name": "fusion", "features": 4, "encoder": {"name": "cnn", "blocks": [2]}}
    model = fit_arrays(network, (images, table), labels, **QUICK)
    assert model.predict_proba((images, table)).shape == (24, 3)


def test_a_module_of_ones_own_is_fitted():
    images, labels = _images()
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    model = fit_arrays(module, torch.from_numpy(images).float()[:, None], labels, **QUICK)
    assert model.network is module
    assert model.predict(torch.from_numpy(images).float()[:, None]).shape == (60,)


@pytest.mark.skipif("autoencoder" not in NETWORKS, reason="there is no autoencoder")
def test_what_training_never_showed_has_a_high_anomaly_score():
    images, labels = _images(90)
    usual = images[labels == 0]
    model = fit_arrays({"name": "autoencoder"}, usual, kind="reconstruction", **{**QUICK, "epochs": 10})
    assert model.predict(usual).shape == (30, 1, 8, 8)
    score = model.anomaly_score(images)
    assert score[labels == 1].mean() > 1.5 * score[labels == 0].mean()
