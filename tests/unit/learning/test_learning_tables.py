"""Tables, folds, preparation, search and storage of mined models, by definition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from threadpoolctl import threadpool_limits

from voxlake.core.digest import digest_bytes
from voxlake.core.errors import IntegrityError, LeakageError, NotFoundError, SettingsError, UsageError
from voxlake.learning.mining import MiningTask, load_mining_task
from voxlake.learning.tables.decide import Decision, decide
from voxlake.learning.tables.estimators import candidate, families, fit, predict
from voxlake.learning.tables.folds import audit, inner_folds, make_folds, strata_of
from voxlake.learning.tables.judging import better, judge
from voxlake.learning.tables.make import table_from_arrays, table_from_frame
from voxlake.learning.tables.mine import mine_table
from voxlake.learning.tables.prepare import Preparation, fit_preparation
from voxlake.learning.tables.result import TableFold
from voxlake.learning.tables.search import Chosen, Problem, search
from voxlake.learning.tables.selecting import choose, uncorrelated
from voxlake.learning.tables.settings import DecideSettings, FoldSettings, PrepareSettings, SearchSettings
from voxlake.learning.tables.store import dump_estimator, load_estimator
from voxlake.learning.tables.table import FeatureTable
from voxlake.metrics.scores import roc_auc


def _table(rows: int = 120, *, seed: int = 0, classes: tuple[str, ...] = ("no", "yes")) -> FeatureTable:
    """Patients with two rows each; the first variable tells the class, the others nothing."""
    generator = np.random.default_rng(seed)
    label = np.repeat(np.arange(rows // 2) % len(classes), 2)
    values = generator.normal(size=(rows, 4))
    values[:, 0] += 2.5 * label
    return table_from_arrays(
        values,
        target=[classes[one] for one in label],
        groups=[f"p{one // 2}" for one in range(rows)],
        names=["signal", "b", "c", "d"],
    )


def _task(**settings: Any) -> MiningTask:
    values = {
        "name": "t",
        "kind": "classification",
        "target": "target",
        "folds": {"outer": 3, "inner": 2},
        "search": {"estimators": ["logistic"], "candidates": 2},
    }
    return MiningTask.read(values | settings)


def test_every_row_is_tested_once_and_no_patient_is_torn_apart() -> None:
    table = _table()
    settings = FoldSettings(outer=4, inner=3)
    strata = strata_of(table, settings)
    folds = make_folds(table, strata, settings)
    tested = sorted(place for fold in folds for place in fold.test)
    assert tested == list(range(len(table)))
    for number, fold in enumerate(folds):
        assert sorted((*fold.train, *fold.test)) == list(range(len(table)))
        groups = [{table.groups[place] for place in part} for part in (fold.train, fold.test)]
        assert not groups[0] & groups[1]
        positives = np.mean([table.target.values[place] == "yes" for place in fold.test])
        assert abs(positives - 0.5) < 0.1
        inner = inner_folds(table, fold.train, strata, settings, fold=number)
        assert sorted(place for one in inner for place in one.test) == sorted(fold.train)
        assert all(not set(one.train) & set(fold.test) for one in inner)


@pytest.mark.parametrize("what", ["groups", "patients", "studies", "contents"])
def test_the_audit_stops_a_run_that_leaks(what: str) -> None:
    table = table_from_arrays({"x": [1.0, 2.0, 3.0]}, groups=["p", "q", "r"])
    planted = {
        "groups": ("same", "same", "r"),
        "patients": ("same", "same", "r"),
        "studies": ("1.2", "1.2", "1.3"),
        "contents": (("digest",), ("digest", "other"), ()),
    }
    leaky = FeatureTable(**{**vars(table), what: planted[what]})
    folds = (TableFold((0, 2), (), (1,)),)
    assert audit(table, folds)["patients"] == 0
    with pytest.raises(LeakageError, match="stand both in 'test' and in 'train'"):
        audit(leaky, folds)
    assert audit(leaky, (TableFold((0, 1), (), (2,)),))["contents"] == 0


def test_groups_that_share_content_are_joined() -> None:
    table = table_from_arrays(
        {"x": [1.0, 2.0, 3.0]}, groups=["p", "q", "r"], contents=[["one"], ["one"], ["two"]]
    )
    assert table.groups == ("p", "p", "r")
    assert table.grouped_by == "patient"
    assert table_from_arrays({"x": [1.0]}).grouped_by == "row"


def test_a_number_is_stratified_by_patients_of_equal_share() -> None:
    generator = np.random.default_rng(0)
    table = table_from_arrays(generator.normal(size=(200, 2)), target=generator.normal(size=200))
    strata = strata_of(table, FoldSettings(outer=5, inner=4))
    assert sorted(set(strata)) == ["0", "1", "2", "3", "4"]
    highest = [value for value, one in zip(table.target.values, strata, strict=True) if one == "4"]
    assert len(highest) == 40
    assert min(highest) == np.sort(table.target.values)[-40]


def test_preparation_is_fitted_on_training_rows_alone_and_survives_json() -> None:
    train = table_from_arrays({"x": [1.0, 3.0, np.nan, 8.0], "k": ["a", "b", None, "b"], "same": [1.0] * 4})
    fitted = fit_preparation(train, PrepareSettings(indicate=True))
    assert fitted.names == ("x", "x is missing", "k=", "k=a", "k=b")
    filled = np.array([1, 3, 3, 8.0])
    expected = (filled - filled.mean()) / filled.std()
    assert np.allclose(fitted.apply(train)[:, 0], expected)
    other = table_from_arrays({"x": [np.nan], "k": ["never seen"], "same": [99.0]})
    row = fitted.apply(other)[0]
    assert row[0] == (3 - filled.mean()) / filled.std()
    missing = np.array([0, 0, 1, 0.0])
    assert row[1] == pytest.approx((1 - missing.mean()) / missing.std())
    assert (row[2:] < 0).all()
    assert np.array_equal(Preparation.from_dict(fitted.to_dict()).apply(other), fitted.apply(other))
    with pytest.raises(UsageError, match="lacks 2 columns"):
        fitted.apply(table_from_arrays({"x": [1.0]}))
    with pytest.raises(UsageError, match="'x' is a category, the model takes a number"):
        fitted.apply(table_from_arrays({"x": ["one"], "k": ["a"], "same": [1.0]}))


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        ("none", [1, 2, 3, 10]),
        ("range", [0, 1 / 9, 2 / 9, 1]),
        ("robust", [-1.5 / 3, -0.5 / 3, 0.5 / 3, 7.5 / 3]),
    ],
)
def test_scaling_by_definition(scale: Any, expected: list[float]) -> None:
    table = table_from_arrays({"x": [1.0, 2.0, 3.0, 10.0]})
    assert np.allclose(fit_preparation(table, PrepareSettings(scale=scale)).apply(table)[:, 0], expected)


@pytest.mark.parametrize("how", ["univariate", "mutual_information", "lasso"])
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_selection_keeps_what_tells_the_target(how: str, kind: Any) -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(300, 6))
    number = 2 * values[:, 1] - 2 * values[:, 4] + 0.1 * generator.normal(size=300)
    target = (number > 0).astype(np.int64) if kind == "classification" else number
    assert choose(how, values, target, 2, kind, 0).tolist() == [1, 4]


def test_of_two_columns_that_go_together_the_first_is_kept() -> None:
    generator = np.random.default_rng(0)
    one, other = generator.normal(size=(2, 100))
    values = np.column_stack([one, other, one * -3 + 1, one + 0.01 * other])
    assert uncorrelated(values, 0.9).tolist() == [0, 1]
    assert uncorrelated(values, 1.0).tolist() == [0, 1, 3]


def test_the_order_of_candidates_depends_on_the_seed_alone() -> None:
    names = families("classification", ())
    assert names == ("logistic", "neighbours", "forest", "extra_trees", "boosting")
    first = [candidate(number, names, seed=3) for number in range(20)]
    assert [candidate(number, names, seed=3) for number in range(20)] == first
    assert [one["estimator"] for one in first[:5]] == list(names)
    assert first[0] == {"estimator": "logistic", "C": 1.0}
    assert candidate(5, names, seed=4) != first[5]
    with pytest.raises(UsageError, match="'linear' is not for classification"):
        families("classification", ["linear"])


def _problem(table: FeatureTable) -> tuple[Problem, Callable[[], list[Chosen]]]:
    target = np.array([value == "yes" for value in table.target.values], dtype=np.int64)
    settings = FoldSettings(outer=3, inner=2)
    strata = strata_of(table, settings)
    folds = make_folds(table, strata, settings)

    def models() -> list[Chosen]:
        rows = [*(fold.train for fold in folds), tuple(range(len(table)))]
        return [
            Chosen(place, np.array(one), inner_folds(table, one, strata, settings, fold=place))
            for place, one in enumerate(rows)
        ]

    return Problem(table, "classification", target, 2, 1, PrepareSettings()), models


def test_a_search_that_time_ended_is_repeated_by_its_number() -> None:
    problem, models = _problem(_table())
    timed, replayed = models(), models()
    clock = iter(range(0, 1000, 10))
    settings = SearchSettings(estimators=("logistic", "neighbours"), seconds=25)
    found = search(problem, timed, settings, "roc_auc", lambda note: None, clock=lambda: next(clock))
    assert found.candidates == 3
    again = settings.model_copy(update={"candidates": found.candidates, "seconds": 0.001})
    search(problem, replayed, again, "roc_auc", lambda note: None)
    for one, other in zip(timed, replayed, strict=True):
        assert one.scores == other.scores
        assert one.which == other.which
        assert one.said.tolist() == other.said.tolist()
        assert one.score == max(one.scores)
        assert one.score == roc_auc(problem.target[one.train] == 1, one.said[:, 1])


def test_metrics_know_which_way_is_better() -> None:
    assert better("roc_auc", 0.9, 0.8)
    assert better("rmse", 0.8, 0.9)
    assert not better("rmse", float("nan"), 0.9)
    truth = np.array([1.0, 2.0, 4.0])
    assert judge("mae", truth, truth + 2, positive=None) == 2
    with pytest.raises(UsageError, match="not for regression"):
        judge("roc_auc", truth, truth, positive=None)
    with pytest.raises(UsageError, match="not for classification"):
        judge("rmse", np.array([0, 1]), np.eye(2), positive=1)


def test_threshold_and_recalibration_are_those_of_the_inner_folds() -> None:
    truth = np.array([0, 0, 0, 1, 1, 1])
    positive = np.array([0.1, 0.2, 0.3, 0.5, 0.6, 0.7])
    said = np.column_stack([1 - positive, positive])
    assert decide(truth, said, positive=1, settings=DecideSettings()).threshold == pytest.approx(0.4)
    other = decide(truth, said, positive=0, settings=DecideSettings())
    assert other.threshold == pytest.approx(0.6)
    corrected = decide(truth, said, positive=1, settings=DecideSettings(recalibrate="isotonic"))
    found = corrected.apply(said)
    assert np.allclose(found[:, 1], truth, atol=1e-9)
    assert np.allclose(found.sum(axis=1), 1)
    assert Decision.from_dict(corrected.to_dict()) == corrected


@pytest.mark.parametrize("name", families("classification", ()))
def test_estimators_are_stored_without_pickle(name: str) -> None:
    table = _table(40)
    values, _ = table.numbers()
    target = np.array([value == "yes" for value in table.target.values], dtype=np.int64)
    names = families("classification", ())
    with threadpool_limits(limits=1):
        fitted = fit(candidate(names.index(name), names, seed=0), "classification", values, target, seed=1)
    data = dump_estimator(fitted)
    again = load_estimator(data, sha256=digest_bytes(data))
    said = predict(fitted, "classification", values, classes=2)
    assert np.array_equal(predict(again, "classification", values, classes=2), said)
    with pytest.raises(IntegrityError, match="expected 000000000000"):
        load_estimator(data, sha256="0" * 64)


class _Foreign:
    """A type that is never stored."""

    def __init__(self) -> None:
        self.value = 1


def test_a_type_that_is_not_on_the_list_is_not_built() -> None:
    data = dump_estimator(_Foreign())
    with pytest.raises(IntegrityError, match="never stores"):
        load_estimator(data, sha256=digest_bytes(data))


def test_a_class_that_was_not_there_gets_no_probability() -> None:
    values = np.arange(8.0).reshape(-1, 1)
    fitted = fit({"estimator": "logistic"}, "classification", values, np.array([0] * 4 + [2] * 4), seed=0)
    said = predict(fitted, "classification", values, classes=3)
    assert (said[:, 1] == 0).all()
    assert np.allclose(said.sum(axis=1), 1)


def test_classification_tests_each_row_by_a_model_that_has_not_seen_it() -> None:
    table = _table()
    notes: list[str] = []
    mined = mine_table(table, _task(decide={"recalibrate": "platt"}), notes.append)
    tests = [one for one in mined.predicted if one.part == "test"]
    rows = np.concatenate([one.rows for one in tests])
    assert sorted(rows.tolist()) == list(range(len(table)))
    said = np.concatenate([one.probabilities for one in tests])
    truth = np.array([table.target.values[place] == "yes" for place in rows])
    assert roc_auc(truth, said[:, 1]) > 0.9
    assert mined.classes == ("no", "yes")
    for fold, part in enumerate(tests):
        assert set(part.rows.tolist()) == set(mined.folds[fold].test)
    validation = {one.fold: set(one.rows.tolist()) for one in mined.predicted if one.part == "validation"}
    assert validation[-1] == set(range(len(table)))
    assert all(validation[fold] == set(one.train) for fold, one in enumerate(mined.folds))
    assert mined.results["importance"][0]["name"] == "signal"
    assert mined.results["search"]["candidates"] == 2
    assert set(mined.artefacts) == {
        f"{name}.{ending}" for name in ("fold-0", "fold-1", "fold-2", "final") for ending in ("skops", "json")
    }
    assert notes[0].startswith("candidate 1: logistic")
    shuffled = np.random.default_rng(1).permutation(table.target.values)
    nothing = mine_table(table.with_target(type(table.target)("target", "category", shuffled)), _task())
    said = np.concatenate([one.probabilities for one in nothing.predicted if one.part == "test"])
    assert roc_auc(shuffled[rows] == "yes", said[:, 1]) < 0.65


def test_classification_refuses_what_it_cannot_learn() -> None:
    table = table_from_arrays({"x": np.arange(6.0)}, target=["a"] * 6)
    with pytest.raises(UsageError, match="1 class"):
        mine_table(table, _task())
    with pytest.raises(UsageError, match="no value"):
        mine_table(table_from_arrays({"x": np.arange(3.0)}, target=["a", "b", None]), _task())
    with pytest.raises(UsageError, match="'c' is none of the classes"):
        mine_table(_table(), _task(positive="c"))
    with pytest.raises(UsageError, match="numbers as a target, got categories"):
        mine_table(_table(), _task(kind="regression"))


def test_regression_finds_the_line() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(150, 3))
    target = 3 * values[:, 0] - values[:, 2] + 0.1 * generator.normal(size=150)
    mined = mine_table(
        table_from_arrays(values, target=target),
        _task(kind="regression", search={"estimators": ["linear"], "candidates": 1}),
    )
    tests = [one for one in mined.predicted if one.part == "test"]
    error = np.concatenate([one.values - target[one.rows] for one in tests])
    assert np.sqrt((error**2).mean()) < 0.2
    assert [row["name"] for row in mined.results["importance"]][:2] == ["x0", "x2"]


def test_coordinates_of_a_vector_matter_together() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(150, 4))
    # Half of what is to be known is in one coordinate, half in another.
    target = values[:, 0] + values[:, 1] + 0.3 * values[:, 3]
    names = ("seen.0", "seen.1", "seen.2", "age")
    table = table_from_arrays(dict(zip(names, values.T, strict=True)), target=target)
    vector = [replace(one, source="embeddings") for one in table.inputs[:3]]
    search = {"estimators": ["linear"], "candidates": 1}
    mined = mine_table(table.with_inputs([*vector, table.inputs[3]]), _task(kind="regression", search=search))
    first, second = mined.results["importance"]
    assert (first["name"], second["name"]) == ("seen", "age")
    # Three coordinates of their own, as the columns of any other table.
    apart = mine_table(table, _task(kind="regression", search=search)).results["importance"]
    assert {one["name"] for one in apart} == set(names)
    assert first["value"] > max(one["value"] for one in apart)


def test_harmonisation_needs_a_batch_that_every_fold_has_seen() -> None:
    table = _table()
    batch = ["rare" if place < 2 else "ab"[place % 4 // 2] for place in range(len(table))]
    columns = {name: table.column(name).values for name in table.names}
    with_batch = table_from_arrays(
        columns, target=table.target.values, groups=table.groups, asides={"scanner": batch}
    )
    with pytest.raises(UsageError, match="ComBat"):
        mine_table(with_batch, _task(prepare={"harmonise": {"batch": "scanner"}}))
    usual = table_from_arrays(
        columns,
        target=table.target.values,
        groups=table.groups,
        asides={"scanner": ["b" if one == "rare" else one for one in batch]},
    )
    mined = mine_table(usual, _task(prepare={"harmonise": {"batch": "scanner"}}))
    assert b'"combat": {"batches": ["a", "b"]' in mined.artefacts["final.json"]


def test_tables_from_frames() -> None:
    frame = pa.table({"who": ["p", "p", "q"], "x": [1.0, None, 3.0], "n": [1, 2, 2], "y": ["a", "b", "a"]})
    table = table_from_frame(frame, target="y", patient="who", categories=["n"])
    assert table.names == ("x", "n")
    assert table.groups == ("p", "p", "q")
    assert table.column("n").values.tolist() == ["1", "2", "2"]
    assert np.isnan(table.column("x").values[1])
    assert table.target.values.tolist() == ["a", "b", "a"]
    same = table_from_frame(frame.to_pandas(), target="y", patient="who", categories=["n"])
    assert same.digest() == table.digest()
    with pytest.raises(NotFoundError, match="did you mean 'who'"):
        table_from_frame(frame, patient="whom")
    with pytest.raises(NotFoundError, match="no column 'z'"):
        table.column("z")
    assert table.take([2, 0]).target.values.tolist() == ["a", "a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('kind = "clasification"', "did you mean 'classification'"),
        ('kind = "classification"', "needs a 'target'"),
        ('kind = "clustering"\ncohort = "c"\nlevel = "row"', "needs a level in the lake"),
        ('kind = "clustering"\n[prepare]\nimput = "mean"', "did you mean 'impute'"),
        ('kind = "clustering"\n[options]\ncluster = 3', "did you mean 'clusters'"),
        (
            'kind = "classification"\ntarget = "y"\n[search]\nestimators = ["forrest"]',
            "did you mean 'forest'",
        ),
        (
            'kind = "clustering"\n[[inputs]]\nsource = "file"\npath = "x"\nsubjet = "a"',
            "did you mean 'subject'",
        ),
        ('kind = "classification"\ntarget = "y"\n[decide]\nrecall = 0.9', "threshold is not 'recall'"),
    ],
)
def test_a_mistyped_task_names_the_near_miss(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_mining_task(f'name = "t"\n{text}\n')


def test_a_task_survives_toml() -> None:
    task = load_mining_task(
        'name = "t"\nkind = "classification"\ntarget = "y"\nasides = ["sex"]\n'
        '[[inputs]]\nsource = "file"\npath = "x.csv"\n[prepare]\nharmonise = {batch = "site"}\n'
    )
    assert load_mining_task(task.to_toml()) == task
    assert task.level == "row"
    assert task.carried == ("sex", "site")
