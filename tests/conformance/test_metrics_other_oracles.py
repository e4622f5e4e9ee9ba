"""Regression, agreement, clustering, segmentation and survival against other libraries."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as oracle
from statsmodels.stats import inter_rater

from voxlake.metrics import regression
from voxlake.metrics.clustering import (
    adjusted_rand_index,
    normalised_mutual_information,
    silhouette_estimate,
    silhouette_samples,
)
from voxlake.metrics.kappa import (
    cohen_kappa,
    cohen_kappa_estimate,
    fleiss_kappa,
    fleiss_kappa_estimate,
    rating_counts,
)
from voxlake.metrics.overlap import dice, iou
from voxlake.metrics.surface import surface_distances

# Masks of `blobs`; figures of DeepMind's surface-distance 0.1 (Hausdorff 100 and 95, average of both
# directions, overlap of both at 1 mm, surface Dice at 1 mm) and of MONAI 1.6.1 (Hausdorff 100 and 95, average
# from the prediction, of both, surface Dice at 1 mm), made once with the packages themselves.
FACTS = [
    (
        (0, (14, 16, 18), (1.0, 1.0, 1.0)),
        (8.0622577483, 6.7082039325, 1.8970464739, 2.8496440431, 0.3816980942, 0.2800705416, 0.3213199179),
        (8.062258, 7.102423, 3.499798, 3.044334, 0.208672),
    ),
    (
        (1, (12, 20, 20), (3.0, 0.8, 0.8)),
        (6.8934751758, 4.0, 1.3976546475, 1.4401884979, 0.4216587614, 0.4943408899, 0.4554689405),
        (6.893475, 4.669047, 1.914213, 1.858331, 0.355091),
    ),
    (
        (2, (16, 12, 15), (0.7, 1.1, 2.3)),
        (4.7812132352, 3.1827660926, 0.5685624976, 1.1617725759, 0.691365722, 0.497852357, 0.5653793906),
        (4.781213, 4.6, 1.583917, 1.324639, 0.426087),
    ),
    (
        (3, (30, 34), (0.5, 0.5)),
        (3.6400549446, 3.5, 1.5951981784, 2.0105390091, 0.3175808605, 0.25, 0.2805695851),
        (3.640055, 3.52665, 2.106171, 1.905761, 0.245902),
    ),
    (
        (4, (28, 36), (1.4, 0.6)),
        (9.3914855055, 8.8588938361, 4.6176997855, 3.2864970977, 0.0907554661, 0.1410173918, 0.1116051009),
        (9.391485, 9.121404, 2.932323, 4.094598, 0.106557),
    ),
]


def blobs(seed: int, shape) -> list[np.ndarray]:
    """Two masks of three balls each."""
    generator = np.random.default_rng(seed)
    places, masks = np.indices(shape), []
    for _ in range(2):
        mask = np.zeros(shape, dtype=bool)
        for _ in range(3):
            centre = [generator.uniform(0.25, 0.75) * size for size in shape]
            radius = generator.uniform(0.15, 0.3) * min(shape)
            offsets = [(place - middle) ** 2 for place, middle in zip(places, centre, strict=True)]
            mask |= sum(offsets) <= radius**2
        masks.append(mask)
    return masks


@pytest.mark.parametrize(("case", "deepmind", "monai"), FACTS)
def test_surfaces_equal_deepmind_and_monai(case, deepmind, monai) -> None:
    seed, shape, spacing = case
    truth, predicted = blobs(seed, shape)
    found = surface_distances(truth, predicted, spacing)
    ours = found.hausdorff(), found.hausdorff(95), *found.average(), *found.overlap(1), found.surface_dice(1)
    np.testing.assert_allclose(ours, deepmind, rtol=1e-9)
    found = surface_distances(truth, predicted, spacing, surface="voxels")
    ours = (
        found.hausdorff(),
        found.hausdorff(95),
        found.average()[1],
        found.symmetric_average(),
        found.surface_dice(1),
    )
    np.testing.assert_allclose(ours, monai, atol=2e-6)


@pytest.mark.parametrize("seed", range(4))
def test_overlap_equals_scikit_learn(seed: int) -> None:
    truth, predicted = np.random.default_rng(seed).random((2, 6, 7, 8)) < 0.4
    assert dice(truth, predicted) == pytest.approx(oracle.f1_score(truth.ravel(), predicted.ravel()))
    assert iou(truth, predicted) == pytest.approx(oracle.jaccard_score(truth.ravel(), predicted.ravel()))


@pytest.mark.parametrize("seed", range(4))
def test_regression_equals_scikit_learn_and_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = np.round(generator.normal(5, 2, 60), seed)
    predicted = np.round(truth + generator.normal(size=60), seed)
    weights = generator.random(60)
    for name, theirs in (
        ("mean_absolute_error", oracle.mean_absolute_error),
        ("mean_squared_error", oracle.mean_squared_error),
        ("root_mean_squared_error", oracle.root_mean_squared_error),
        ("r_squared", oracle.r2_score),
    ):
        ours = getattr(regression, name)
        assert ours(truth, predicted) == pytest.approx(theirs(truth, predicted))
        expected = theirs(truth, predicted, sample_weight=weights)
        assert ours(truth, predicted, weights=weights) == pytest.approx(expected)
    assert regression.median_absolute_error(truth, predicted) == pytest.approx(
        oracle.median_absolute_error(truth, predicted)
    )
    pearson, spearman = stats.pearsonr(truth, predicted), stats.spearmanr(truth, predicted)
    assert regression.pearson_correlation(truth, predicted) == pytest.approx(pearson.statistic)
    assert regression.spearman_correlation(truth, predicted) == pytest.approx(spearman.statistic)


@pytest.mark.parametrize("weighting", [None, "linear", "quadratic"])
@pytest.mark.parametrize("seed", range(3))
def test_cohen_equals_scikit_learn_and_statsmodels(weighting, seed: int) -> None:
    generator = np.random.default_rng(seed)
    first = generator.integers(0, 5, 150)
    second = np.clip(first + generator.integers(-1, 2, 150), 0, 4)
    found = cohen_kappa(first, second, weighting=weighting)
    assert found == pytest.approx(oracle.cohen_kappa_score(first, second, weights=weighting))
    weights = generator.random(150)
    expected = oracle.cohen_kappa_score(first, second, weights=weighting, sample_weight=weights)
    assert cohen_kappa(first, second, weighting=weighting, weights=weights) == pytest.approx(expected)
    table = np.zeros((5, 5))
    np.add.at(table, (first, second), 1)
    distance = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    penalty = {None: None, "linear": distance, "quadratic": distance**2}[weighting]
    theirs = inter_rater.cohens_kappa(table, weights=penalty)
    ours = cohen_kappa_estimate(first, second, weighting=weighting)
    assert ours.value == pytest.approx(theirs.kappa)
    # Theirs is a normal interval on the plain scale: undo ours, of Student on Fisher's scale.
    half = (np.arctanh(ours.high) - np.arctanh(ours.low)) / 2
    error = half / stats.t.ppf(0.975, 149) * (1 - ours.value**2) * np.sqrt(149 / 150)
    assert error == pytest.approx(theirs.std_kappa, rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_fleiss_equals_statsmodels(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 3, 40)
    guess = generator.integers(0, 3, (40, 5))
    ratings = np.where(generator.random((40, 5)) < 0.6, truth[:, np.newaxis], guess)
    counts, categories = rating_counts(ratings)
    expected = inter_rater.aggregate_raters(ratings)[0]
    np.testing.assert_array_equal(counts, expected)
    assert categories == (0, 1, 2)
    assert fleiss_kappa(counts) == pytest.approx(inter_rater.fleiss_kappa(expected))
    assert fleiss_kappa_estimate(counts).value == pytest.approx(inter_rater.fleiss_kappa(expected))


@pytest.mark.parametrize("seed", range(3))
def test_clusters_equal_scikit_learn(seed: int, monkeypatch) -> None:
    generator = np.random.default_rng(seed)
    labels = np.concatenate((generator.integers(0, 4, 79), [4]))
    values = generator.normal(size=(80, 3)) + labels[:, np.newaxis]
    monkeypatch.setattr("voxlake.metrics.clustering._DISTANCES", 800)
    np.testing.assert_allclose(silhouette_samples(values, labels), oracle.silhouette_samples(values, labels))
    found = silhouette_estimate(values, labels)
    assert found.value == pytest.approx(oracle.silhouette_score(values, labels))
    other = np.where(generator.random(80) < 0.3, generator.integers(0, 3, 80), labels)
    assert adjusted_rand_index(labels, other) == pytest.approx(oracle.adjusted_rand_score(labels, other))
    assert normalised_mutual_information(labels, other) == pytest.approx(
        oracle.normalized_mutual_info_score(labels, other)
    )
