"""Mining of kind clustering."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, silhouette_score
from threadpoolctl import threadpool_limits

from voxlake.core.errors import UsageError
from voxlake.learning.mining import MiningTask
from voxlake.learning.tables.cluster import mine_cluster, speak
from voxlake.learning.tables.make import table_from_arrays


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for each other on a busy machine take longer than one alone."""
    with threadpool_limits(1):
        yield


def wards(rows=90, seed=0):
    generator = np.random.default_rng(seed)
    truth = np.repeat([0, 1, 2], (rows // 2, rows // 3, rows - rows // 2 - rows // 3))
    values = np.array([[0, 0, 0], [9, 0, 6], [0, 9, 6]])[truth] + generator.normal(size=(rows, 3))
    return table_from_arrays(
        {
            "a": values[:, 0],
            "b": values[:, 1],
            "c": values[:, 2],
            "maker": np.where(truth == 0, "X", "Y"),
        },
        target=np.array(["none", "benign", "malignant"])[truth],
        groups=[f"p{row // 2}" for row in range(rows)],
    ), truth


def task(**options):
    return MiningTask.read(
        {
            "name": "groups",
            "kind": "clustering",
            "level": "row",
            "inputs": [{"source": "file", "path": "x.csv"}],
            "options": {"subsamples": 6, "replicates": 200, **options},
        }
    )


class Parts:
    """What a stored model would offer."""

    def __init__(self, mined) -> None:
        self.card = {"results": mined.results}
        self.get = mined.artefacts.__getitem__


def test_the_number_of_groups_is_found() -> None:
    table, truth = wards()
    notes = []
    mined = mine_cluster(table, task(largest=5), notes.append)
    assert notes == ["2 clusters", "3 clusters", "4 clusters", "5 clusters", "stability"]
    assert mined.classes == ("cluster 1", "cluster 2", "cluster 3")
    (predicted,) = mined.predicted
    assert (predicted.part, predicted.fold) == ("fit", -1)
    assert adjusted_rand_score(truth, predicted.assigned) > 0.95
    figures = {one["name"]: one for one in mined.results["estimates"]}
    assert [one["clusters"] for one in mined.results["tried"]] == [2, 3, 4, 5]
    best = max(one["silhouette"] for one in mined.results["tried"])
    silhouette = next(one for name, one in figures.items() if "silhouette" in name)
    assert silhouette["value"] == pytest.approx(best)
    assert silhouette["low"] < best < silhouette["high"]
    agreement = next(one for name, one in figures.items() if "rand" in name)
    assert agreement["value"] == pytest.approx(
        adjusted_rand_score(table.target.values.astype(str), predicted.assigned)
    )
    assert len(figures) == 3
    first = mined.results["clusters"][0]
    assert (first["rows"], first["groups"]) == (45, 23)
    assert first["target"]["none"] >= 43
    assert {one["variable"] for one in first["stands_out"]} == {"a", "b", "c", "maker=X", "maker=Y"}


def test_silhouette_is_that_of_scikit_learn() -> None:
    from voxlake.learning.tables.prepare import fit_preparation

    table, _ = wards()
    job = task(clusters=2)
    mined = mine_cluster(table, job, lambda _: None)
    matrix = fit_preparation(table, job.prepare).apply(table)
    assert mined.results["tried"] == [
        {
            "clusters": 2,
            "silhouette": pytest.approx(silhouette_score(matrix, mined.predicted[0].assigned)),
        }
    ]


def test_the_target_has_no_influence() -> None:
    table, _ = wards()
    job = task(clusters=3)
    first = mine_cluster(table, job, lambda _: None)
    second = mine_cluster(table.with_target(None), job, lambda _: None)
    assert first.predicted[0].assigned == second.predicted[0].assigned
    assert first.artefacts == second.artefacts
    assert len(second.results["estimates"]) == 2


@pytest.mark.parametrize("options", [{"clusters": 3}, {"clusters": 3, "components": 2, "method": "mixture"}])
def test_new_rows_are_put_into_the_groups(options) -> None:
    table, _ = wards()
    job = task(**options)
    mined = mine_cluster(table, job, lambda _: None)
    spoken = speak(Parts(mined), job, table)
    assert spoken.part == "new"
    assert spoken.assigned == mined.predicted[0].assigned
    with pytest.raises(UsageError, match="lacks 1 columns"):
        speak(Parts(mined), job, table.with_inputs(table.inputs[1:]))


def test_rows_that_cannot_be_grouped() -> None:
    table, _ = wards()
    with pytest.raises(UsageError, match="too few"):
        mine_cluster(table.take([0, 1]), task(), lambda _: None)
