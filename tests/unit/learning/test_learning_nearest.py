"""The index of nearest neighbours: against every distance worked out."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from voxlake.core.errors import IntegrityError, UsageError
from voxlake.learning.tables.nearest import build_index, index_from_bytes


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for each other on a busy machine take longer than one alone."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def vectors():
    generator = np.random.default_rng(0)
    latent = generator.normal(size=(3500, 6)).astype("f4")
    return np.tanh(latent @ generator.normal(size=(6, 24)).astype("f4"))


def brute(values, queries, count, metric="euclidean"):
    values, queries = values.astype(float), queries.astype(float)
    if metric == "cosine":
        lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(values, axis=1)
        far = 1 - queries @ values.T / lengths
    else:
        far = np.sqrt(((queries[:, None] - values[None]) ** 2).sum(axis=2))
    order = np.argsort(far, axis=1)[:, :count]
    return order, np.take_along_axis(far, order, 1)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_small_tables_are_searched_exactly(vectors, metric) -> None:
    index = build_index(vectors[:500], metric=metric)
    found, far = index.search(vectors[500:530], 7)
    positions, distances = brute(vectors[:500], vectors[500:530], 7, metric)
    assert (found == positions).all()
    assert far == pytest.approx(distances, abs=1e-3)
    assert (index.recall, index.lists, len(index)) == (1, 0, 500)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_large_tables_reach_the_recall(vectors, metric) -> None:
    index = build_index(vectors[:3000], metric=metric, recall=0.95, exact_below=1000, seed=3)
    assert 1 <= index.probes < index.lists == 64
    found, _ = index.search(vectors[3000:], 10)
    positions, _ = brute(vectors[:3000], vectors[3000:], 10, metric)
    recall = np.mean([np.isin(truth, got).mean() for truth, got in zip(positions, found, strict=True)])
    assert recall >= 0.93
    assert index.recall >= 0.95
    again = build_index(vectors[:3000], metric=metric, recall=0.95, exact_below=1000, seed=3)
    assert again.to_bytes() == index.to_bytes()


def test_all_is_found_where_all_is_asked(vectors) -> None:
    assert build_index(vectors[:2000], recall=1, exact_below=10).lists == 0


def test_bytes_there_and_back(vectors) -> None:
    index = build_index(vectors[:3000], recall=0.9, exact_below=1000)
    facts = {name: index.facts()[name] for name in ("metric", "lists", "probes", "recall")}
    again = index_from_bytes(index.to_bytes(), **facts)
    for first, second in zip(index.search(vectors[:9], 5), again.search(vectors[:9], 5), strict=True):
        assert (first == second).all()
    assert again.vectors(np.array([7, 2999])) == pytest.approx(vectors[[7, 2999]])
    with pytest.raises(IntegrityError, match="cannot be read"):
        index_from_bytes(index.to_bytes()[:100], **facts)
    with pytest.raises(IntegrityError, match="not what its card says"):
        index_from_bytes(index.to_bytes(), **{**facts, "lists": 0})


def test_bytes_beside_another_library_with_vectors_of_its_own(vectors, tmp_path) -> None:
    # Both are made by SWIG, and one of them gives the type of a vector of bytes its name.
    code = """
import sys
import numpy as np
from voxlake.learning.tables.nearest import build_index, index_from_bytes
import SimpleITK
SimpleITK.VectorUInt8()
index = build_index(np.load(sys.argv[1]))
facts = {name: index.facts()[name] for name in ("metric", "lists", "probes", "recall")}
again = index_from_bytes(index.to_bytes(), **facts)
print(len(again))
"""
    np.save(tmp_path / "vectors.npy", vectors[:50])
    command = [sys.executable, "-c", code, str(tmp_path / "vectors.npy")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "50\n"


def test_the_patients_own_cases_are_left_out(vectors) -> None:
    generator = np.random.default_rng(1)
    groups = generator.integers(0, 40, 400)
    groups[:150] = 0
    index = build_index(vectors[:400])
    found, far = index.search_others(vectors[:400], groups, groups, 6)
    everyone, distances = brute(vectors[:400], vectors[:400], 400)
    for row in range(400):
        foreign = groups[everyone[row]] != groups[row]
        assert (found[row] == everyone[row][foreign][:6]).all()
        assert far[row] == pytest.approx(distances[row][foreign][:6], abs=2e-3)


def test_none_is_said_where_there_are_too_few_others(vectors) -> None:
    index = build_index(vectors[:5])
    found, far = index.search_others(vectors[:1], [0], [0, 0, 0, 1, 0], 3)
    assert found.tolist() == [[3, -1, -1]]
    assert np.isinf(far[0, 1:]).all()
    alone, _ = index.search_others(vectors[:1], [-1], [0, 0, 0, 1, 0], 3)
    assert alone[0, 0] == 0


@pytest.mark.parametrize(
    ("values", "keywords", "message"),
    [
        (np.full((3, 2), np.nan), {}, "not finite"),
        (np.zeros((3, 2)), {"metric": "cosine"}, "no direction"),
        (np.zeros(3), {}, "expected vectors of shape"),
        (np.zeros((0, 2)), {}, "expected vectors and a recall"),
        (np.ones((3, 2)), {"recall": 0}, "expected vectors and a recall"),
    ],
)
def test_what_cannot_be_indexed(values, keywords, message) -> None:
    with pytest.raises(UsageError, match=message):
        build_index(values, **keywords)


def test_questions_that_do_not_fit(vectors) -> None:
    index = build_index(vectors[:10])
    with pytest.raises(UsageError, match="queries have 3 dimensions"):
        index.search(np.ones((1, 3)), 2)
    with pytest.raises(UsageError, match="between 1 and 10"):
        index.search(vectors[:1], 11)
    with pytest.raises(UsageError, match="one group for each"):
        index.search_others(vectors[:1], [0], [0], 1)
    assert index.search(vectors[:0], 2)[0].shape == (0, 2)
