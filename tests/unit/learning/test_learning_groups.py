"""Clusters, places and similar cases: on planted structure, by definition, there and back."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.learning.mining import MiningTask
from voxlake.learning.tables.grouping import Grouping, fit_grouping
from voxlake.learning.tables.make import table_from_arrays
from voxlake.learning.tables.placing import Placing, fit_components, place_by_isomap, place_by_tsne
from voxlake.learning.tables.reduce import mine_reduce
from voxlake.learning.tables.similar import mine_similar, open_similar, precision_at


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for each other on a busy machine take longer than one alone."""
    with threadpool_limits(1):
        yield


CENTRES = np.array([[0, 0, 0], [6, 0, 0], [0, 7, 1]])


def blobs(rows=90, seed=0):
    generator = np.random.default_rng(seed)
    truth = np.repeat([0, 1, 2], (rows // 2, rows // 3, rows - rows // 2 - rows // 3))
    return CENTRES[truth] + generator.normal(size=(rows, 3)), truth


def task(kind, options=None, **values):
    return MiningTask.read(
        {
            "name": "t",
            "kind": kind,
            "level": "row",
            "inputs": [{"source": "file", "path": "x.csv"}],
            "options": options or {},
            **values,
        }
    )


class Parts:
    """What a stored model would offer."""

    def __init__(self, mined) -> None:
        self.card = {"results": mined.results}
        self.get = mined.artefacts.__getitem__


@pytest.mark.parametrize("method", ["kmeans", "mixture", "agglomerative"])
def test_planted_groups_are_found(method) -> None:
    values, truth = blobs()
    grouping = fit_grouping(values, 3, method=method, seed=5)
    found = grouping.assign(values)
    assert (found == truth).mean() > 0.97
    assert np.bincount(found).tolist() == sorted(np.bincount(found), reverse=True)
    stored = json.loads(json.dumps(grouping.to_dict()))
    assert (Grouping.from_dict(stored).assign(values) == found).all()
    assert fit_grouping(values, 3, method=method, seed=5).to_dict() == grouping.to_dict()


def test_groups_are_those_of_the_nearest_mean() -> None:
    values, _ = blobs()
    grouping = fit_grouping(values, 3)
    distances = np.linalg.norm(values[:, None] - grouping.centres[None], axis=2)
    assert (grouping.assign(values) == distances.argmin(axis=1)).all()
    with pytest.raises(UsageError, match="no probabilities"):
        grouping.probabilities(values)


def test_probabilities_of_a_mixture_are_those_of_scikit_learn() -> None:
    values, _ = blobs(120)
    grouping = fit_grouping(values, 2, method="mixture", seed=1)
    oracle = GaussianMixture(2, n_init=5, reg_covar=1e-4, random_state=1).fit(values)
    expected = oracle.predict_proba(values)
    if expected[:, 0].sum() < expected[:, 1].sum():
        expected = expected[:, ::-1]
    assert grouping.probabilities(values) == pytest.approx(expected, abs=1e-9)


def test_too_few_different_rows() -> None:
    with pytest.raises(UsageError, match="1 different rows cannot make 2 groups"):
        fit_grouping(np.ones((5, 2)), 2)


def test_components_are_those_of_scikit_learn_up_to_sign() -> None:
    values, _ = blobs()
    found = fit_components(values, 2)
    oracle = PCA(2, svd_solver="full").fit(values)
    assert found.explained == pytest.approx(oracle.explained_variance_ratio_)
    assert np.abs(found.apply(values)) == pytest.approx(np.abs(oracle.transform(values)))
    assert (found.directions[[0, 1], np.abs(found.directions).argmax(axis=1)] > 0).all()
    assert Placing.from_dict(json.loads(json.dumps(found.to_dict()))).apply(values) == pytest.approx(
        found.apply(values)
    )
    with pytest.raises(UsageError, match="have 3 components at most"):
        fit_components(values, 4)


def test_isomap_unrolls_a_spiral() -> None:
    along = np.linspace(3, 12, 150)
    spiral = np.column_stack((along * np.cos(along), along * np.sin(along)))
    placed = place_by_isomap(spiral, 1, neighbours=4)[:, 0]
    assert abs(np.corrcoef(placed, along)[0, 1]) > 0.95
    apart = np.concatenate((spiral, spiral + 1000))
    with pytest.raises(UsageError, match="2 parts"):
        place_by_isomap(apart, 1, neighbours=4)
    with pytest.raises(UsageError, match="too few"):
        place_by_isomap(spiral[:4], 1, neighbours=4)


def test_tsne_keeps_groups_apart() -> None:
    values, truth = blobs(60)
    placed = place_by_tsne(values, 2, perplexity=8, seed=3)
    far = np.linalg.norm(placed[:, None] - placed[None], axis=2)
    np.fill_diagonal(far, np.inf)
    assert (truth[far.argmin(axis=1)] == truth).mean() > 0.9
    with pytest.raises(UsageError, match="up to 3 dimensions"):
        place_by_tsne(values, 4, perplexity=8, seed=3)
    with pytest.raises(UsageError, match="perplexity 60"):
        place_by_tsne(values, 2, perplexity=60.0, seed=3)


def wards(rows=90):
    values, truth = blobs(rows)
    return table_from_arrays(
        {"a": values[:, 0], "b": values[:, 1], "c": values[:, 2]},
        target=np.array(["none", "benign", "malignant"])[truth],
        groups=[f"p{row // 3}" for row in range(rows)],
        subjects=[f"case{row}" for row in range(rows)],
    )


def test_mined_places() -> None:
    mined = mine_reduce(wards(), task("reduction"), lambda _: None)
    assert mined.vectors is not None
    assert (mined.vectors.shape, mined.vectors.dtype) == ((90, 2), np.float32)
    assert sum(mined.results["explained"]) > 0.7
    assert mined.results["trustworthiness"] > 0.9
    assert mined.results["components"][0][0]["variable"] in {"a", "b", "c"}
    assert set(mined.artefacts) == {"components.json"}
    # Every row is said to have been fitted on, so that an erasure finds its patient.
    assert [vars(fold) for fold in mined.folds] == [{"train": tuple(range(90)), "validation": (), "test": ()}]
    other = mine_reduce(wards(), task("reduction", {"method": "isomap", "neighbours": 40}), lambda _: None)
    assert (other.artefacts, other.vectors.shape) == ({}, (90, 2))


def test_precision_by_hand() -> None:
    found = np.array([[1, 2], [0, 3], [3, -1], [-1, -1], [0, 1]])
    shares = precision_at(found, ["x", "x", "y", None, "y"])
    assert shares == pytest.approx([0.5, 1, np.nan, np.nan, 0], nan_ok=True)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_retrieval_of_similar_cases(metric) -> None:
    table = wards()
    job = task("similarity", {"neighbours": 5, "metric": metric, "replicates": 200})
    mined = mine_similar(table, job, lambda _: None)
    figures = {one["name"]: one for one in mined.results["estimates"]}
    assert set(figures) == {
        "precision_at_5",
        "precision_at_5: none",
        "precision_at_5: benign",
        "precision_at_5: malignant",
        "precision_at_5 above chance",
    }
    whole = figures["precision_at_5"]
    assert 0.9 < whole["value"] <= 1
    assert whole["groups"] == 30
    labels = [str(value) for value in table.target.values]
    others = [
        np.mean([labels[b] == labels[a] for b in range(90) if table.groups[a] != table.groups[b]])
        for a in range(90)
    ]
    assert mined.results["by_chance"] == pytest.approx(np.mean(others))
    cases = open_similar(Parts(mined), job)
    near = cases.of("case4")
    assert len(near) == 5
    assert "p1" not in {one.group for one in near}
    assert [one.distance for one in near] == sorted(one.distance for one in near)
    same = cases.of("case4", neighbours=89, other_patients=False)
    assert "case4" not in {one.subject for one in same}
    assert {"case3", "case5"} <= {one.subject for one in same}
    with pytest.raises(NotFoundError, match=r"'case9x'.*'case9'"):
        cases.of("case9x")
    with pytest.raises(UsageError, match="1 or more"):
        cases.of("case4", neighbours=0)


def test_similar_cases_of_a_row_from_elsewhere() -> None:
    table = wards()
    job = task("similarity", {"neighbours": 3})
    cases = open_similar(Parts(mine_similar(table, job, lambda _: None)), job)
    (first, second) = cases.to(table.take([10, 80]))
    assert first[0].subject == "case10"
    assert second[0].subject == "case80"
    assert first[0].distance == pytest.approx(0, abs=1e-3)


def test_similarity_without_labels_or_rows() -> None:
    table = wards()
    mined = mine_similar(table.with_target(None), task("similarity"), lambda _: None)
    assert mined.results["estimates"] == []
    with pytest.raises(UsageError, match="two rows"):
        mine_similar(table.take([0]), task("similarity"), lambda _: None)
    with pytest.raises(UsageError, match="kind = 'similarity'"):
        open_similar(Parts(mined), task("reduction"))
