"""Uncertainty of ensembles: the definitions, by hand and by SciPy."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy
from torch import nn

from voxlake.core.errors import UsageError
from voxlake.networks.tiled import Tiling
from voxlake.networks.uncertainty import dropout_answers, ensemble_answers, iter_uncertain, uncertainty_of

IMAGES = torch.randn((5, 1, 6, 6), generator=torch.Generator().manual_seed(0))


def classifier(seed: int, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(dropout), nn.Linear(64, 3)
    ).eval()


def test_doubt_is_told_from_disagreement() -> None:
    unsure = uncertainty_of([[[0.5, 0.5]], [[0.5, 0.5]]])
    assert unsure.entropy.tolist() == pytest.approx([log(2)])
    assert unsure.mutual_information.tolist() == [0]
    assert unsure.spread.tolist() == [[0, 0]]
    split = uncertainty_of([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert split.mean.tolist() == [[0.5, 0.5]]
    assert split.entropy.tolist() == pytest.approx([log(2)])
    assert split.mutual_information.tolist() == pytest.approx([log(2)])
    assert split.spread.tolist() == [[0.5, 0.5]]
    several = uncertainty_of([[[0.5, 1.0]], [[0.5, 0.0]]], exclusive=False)
    assert several.entropy.tolist() == pytest.approx([2 * log(2)])
    assert several.mutual_information.tolist() == pytest.approx([log(2)])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(2, 5), st.integers(0, 1000))
def test_the_definitions(members: int, images: int, classes: int, seed: int) -> None:
    answers = np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), (members, images, 2))
    answers = np.moveaxis(answers, -1, 2)
    found = uncertainty_of(answers)
    assert found.mean.shape == (images, classes, 2)
    assert found.entropy.shape == (images, 2)
    np.testing.assert_allclose(found.mean, answers.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.spread, answers.std(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.entropy, entropy(answers.mean(axis=0), axis=1), atol=1e-6)
    doubt = entropy(answers, axis=2).mean(axis=0)
    np.testing.assert_allclose(found.mutual_information, found.entropy - doubt, atol=1e-6)
    assert (found.mutual_information >= 0).all()


def test_an_ensemble_of_networks() -> None:
    networks = [classifier(seed) for seed in (1, 2, 3)]
    answers = ensemble_answers(networks, IMAGES, batch_size=2)
    with torch.inference_mode():
        expected = torch.stack([torch.softmax(each(IMAGES), dim=1) for each in networks])
    np.testing.assert_allclose(answers, expected, atol=1e-6)
    assert (uncertainty_of(answers).mutual_information > 1e-4).all()
    same = uncertainty_of(ensemble_answers(networks[:1] * 3, IMAGES))
    assert not same.spread.any()
    np.testing.assert_allclose(same.mutual_information, 0, atol=1e-7)
    with pytest.raises(UsageError, match="at least one network"):
        ensemble_answers([], IMAGES)


def test_dropout_goes_on_and_nothing_else_changes() -> None:
    network = classifier(1, dropout=0.5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.random.get_rng_state()
    answers = dropout_answers(network, IMAGES, samples=4, seed=7)
    assert answers.shape == (4, 5, 3)
    assert (answers.std(axis=0) > 1e-3).all()
    np.testing.assert_array_equal(dropout_answers(network, IMAGES, samples=4, seed=7), answers)
    assert not np.array_equal(dropout_answers(network, IMAGES, samples=4, seed=8), answers)
    assert not any(module.training for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    with pytest.raises(UsageError, match="no dropout"):
        dropout_answers(classifier(1), IMAGES)


def test_voxels_of_a_volume_slab_by_slab() -> None:
    torch.manual_seed(0)
    networks = [nn.Conv3d(1, 3, 3, padding=1).eval() for _ in range(2)]
    values = np.random.default_rng(0).random((20, 9, 8), dtype=np.float32)
    tiling = Tiling(tile=(8, 16, 16), overlap=0.5, margin=1)
    slabs = list(iter_uncertain(networks, values, tiling, precision="float32"))
    assert len(slabs) > 1
    with torch.inference_mode():
        outputs = [torch.softmax(each(torch.from_numpy(values)[None, None]), 1).numpy() for each in networks]
    expected = uncertainty_of(outputs)
    for name in ("mean", "spread"):
        parts = [getattr(each, name) for _, each in slabs]
        np.testing.assert_allclose(np.concatenate(parts, axis=2), getattr(expected, name), atol=1e-5)
    parts = [each.mutual_information for _, each in slabs]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), expected.mutual_information, atol=1e-5)


def test_what_are_no_probabilities_is_refused() -> None:
    with pytest.raises(UsageError, match="probabilities"):
        uncertainty_of([[[1.5, -0.5]]])
    with pytest.raises(UsageError, match="at least one"):
        uncertainty_of([])
