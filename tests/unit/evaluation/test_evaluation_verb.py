"""The verb evaluate on models whose predictions are known: scores, audit, comparison, subgroups."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from voxlake.core.errors import LeakageError, NotFoundError, UsageError
from voxlake.evaluation.evaluate import evaluate
from voxlake.evaluation.judged import judge
from voxlake.evaluation.scored import Scored
from voxlake.evaluation.speaker import get_speaker
from voxlake.evaluation.subjects import age_band
from voxlake.lake.lake import Lake
from voxlake.metrics.delong import delong_test

Rows = list[dict[str, Any]]
Plant = Callable[..., str]
MakeRows = Callable[..., Rows]


def test_evaluation_does_not_need_torch() -> None:
    """Who mines tables only has no torch."""
    script = "import sys, voxlake.evaluation.report, voxlake.learning.mine; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def row_names(count: int) -> list[str]:
    return [f"r{number:03}" for number in range(count)]


def area(truth: np.ndarray[Any, Any], score: np.ndarray[Any, Any]) -> float:
    above = score[truth][:, None] - score[~truth][None]
    return float(np.mean((above > 0) + 0.5 * (above == 0)))


def held_out(rows: Rows) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Truth and probability of the test parts, sorted by subject."""
    chosen = sorted(
        (row for row in rows if row["part"] == "test" and row["class"] == "yes"),
        key=lambda row: row["subject"],
    )
    return (
        np.array([row["truth"] == "yes" for row in chosen]),
        np.array([row["probability"] for row in chosen]),
    )


def test_a_table_model_is_scored_by_rows_where_no_patient_is_known(
    lake: Lake, plant: Plant, binary_rows: MakeRows
) -> None:
    names = row_names(80)
    rows = binary_rows(names, names)
    model = plant(lake, "alone", rows)
    run = evaluate(lake, "alone")
    truth, score = held_out(rows)
    assert run.result["model"] == model
    assert (run.result["samples"], run.result["patients"], run.result["unit"]) == (80, 80, "rows")
    assert run.result["scores"]["roc_auc"]["value"] == pytest.approx(area(truth, score))
    stored = lake.sql(
        "select value, samples, groups, part, subgroup, against from scores where metric = 'roc_auc'"
    )
    assert stored.rows() == [(pytest.approx(area(truth, score)), 80, 80, "test", None, None)]
    again = evaluate(lake, "alone")
    assert again.input_digest == run.input_digest
    assert len(lake.sql("select * from scores").rows()) == len(run.result["scores"])


def test_thresholds_come_from_validation_or_from_the_task(
    lake: Lake, plant: Plant, binary_rows: MakeRows
) -> None:
    names = row_names(80)
    rows = binary_rows(names, names)
    chosen = {"folds": [{"fold": 0, "threshold": 0.25}, {"fold": 1, "threshold": None}]}
    plant(lake, "chosen", rows, results=chosen)
    scored = judge(get_speaker(lake, "chosen"), None).scored
    assert isinstance(scored, Scored)
    assert scored.thresholds is not None
    assert set(scored.thresholds[scored.folds == 0]) == {0.25}
    # Youden's index on the validation part of the other fold, by definition.
    part = [row for row in rows if (row["part"], row["fold"], row["class"]) == ("validation", 1, "yes")]
    truth = np.array([row["truth"] == "yes" for row in part])
    score = np.array([row["probability"] for row in part])
    best = max((score[truth] >= cut).mean() - (score[~truth] >= cut).mean() for cut in score)
    (cut,) = set(scored.thresholds[scored.folds == 1])
    assert (score[truth] >= cut).mean() - (score[~truth] >= cut).mean() == pytest.approx(best)


def test_a_group_on_two_sides_stops_evaluation(lake: Lake, plant: Plant, binary_rows: MakeRows) -> None:
    names = row_names(40)
    groups = [f"g{number // 2}" for number in range(40)]
    rows = binary_rows(names, groups)
    leaky = [{"train": [], "validation": [names[1]], "test": [names[0]]}]
    plant(lake, "leaky", rows, folds=leaky)
    with pytest.raises(LeakageError, match="1 groups that were to stay together stand both in 'validation'"):
        evaluate(lake, "leaky")
    assert lake.sql("select count(*) from scores").rows() == [(0,)]
    assert lake.sql("select outcome, error from runs").rows() == [("failed", "LeakageError")]


def test_a_patient_on_two_sides_stops_evaluation(
    phantom_lake: Lake, plant: Plant, binary_rows: MakeRows
) -> None:
    found = phantom_lake.sql("select series_instance_uid, patient_id from series order by 2").rows()
    series, patients = [row[0] for row in found], [row[1] for row in found]
    rows = binary_rows(series, patients, patients=patients)
    plant(phantom_lake, "fair", rows, level="series", cohort="all")
    run = evaluate(phantom_lake, "fair")
    assert (run.result["samples"], run.result["patients"], run.result["unit"]) == (24, 24, "patients")
    torn = [{"train": [series[0]], "test": series}]
    plant(phantom_lake, "torn", rows, level="series", cohort="all", folds=torn)
    with pytest.raises(LeakageError, match="1 patients stand both in 'train' and in 'test' of fold 1"):
        evaluate(phantom_lake, "torn")


def test_two_models_are_compared_on_what_both_have_scored(
    lake: Lake, plant: Plant, binary_rows: MakeRows
) -> None:
    names = row_names(100)
    good, poor = (
        binary_rows(names, names, seed=1, skill=2.0),
        binary_rows(names[:90], names[:90], seed=2, skill=0.2),
    )
    plant(lake, "good", good)
    plant(lake, "poor", poor)
    run = evaluate(lake, "good", against="poor")
    shared = [row for row in good if row["subject"] in set(names[:90])]
    truth, first = held_out(shared)
    same, second = held_out(poor)
    np.testing.assert_array_equal(truth, same)
    found = run.result["comparison"]
    assert (found["samples"], found["against"]) == (90, get_speaker(lake, "poor").model_id)
    assert found["roc_auc"]["difference"] == pytest.approx(area(truth, first) - area(truth, second))
    assert found["roc_auc"]["low"] > 0
    direct = delong_test(truth, first, second)
    assert found["delong"]["difference"] == pytest.approx(direct.difference)
    assert found["delong"]["p_value"] == pytest.approx(direct.p_value, rel=0.05)
    assert found["mcnemar"]["only_first_right"] > found["mcnemar"]["only_second_right"]
    stored = lake.sql(
        "select metric, against, value from scores "
        "where against is not null and metric = 'roc_auc_difference'"
    ).rows()
    assert stored == [("roc_auc_difference", found["against"], pytest.approx(found["roc_auc"]["difference"]))]
    back = evaluate(lake, "poor", against="good").result["comparison"]
    assert back["roc_auc"]["difference"] == pytest.approx(-found["roc_auc"]["difference"])


def test_models_that_cannot_be_compared_say_why(lake: Lake, plant: Plant, binary_rows: MakeRows) -> None:
    names = row_names(40)
    plant(lake, "one", binary_rows(names, names))
    plant(lake, "target", binary_rows(names, names), target="other")
    with pytest.raises(UsageError, match="'ill' of each row, 'target' 'other' of each row"):
        evaluate(lake, "one", against="target")
    others = [f"s{number}" for number in range(40)]
    plant(lake, "elsewhere", binary_rows(others, others))
    with pytest.raises(UsageError, match="0 subjects in common"):
        evaluate(lake, "one", against="elsewhere")
    flipped = [
        {**row, "truth": "no" if row["truth"] == "yes" else "yes"} for row in binary_rows(names, names)
    ]
    plant(lake, "flipped", flipped)
    with pytest.raises(UsageError, match="another truth of 40 of 40"):
        evaluate(lake, "one", against="flipped")
    with pytest.raises(NotFoundError, match="did you mean 'one'"):
        evaluate(lake, "one", against="oen")


def test_subgroups_are_scored_by_themselves(phantom_lake: Lake, plant: Plant, binary_rows: MakeRows) -> None:
    found = phantom_lake.sql(
        "select series_instance_uid, patient_id, patient_sex from series order by 2"
    ).rows()
    series, patients = [row[0] for row in found], [row[1] for row in found]
    rows = binary_rows(series, patients, patients=patients)
    plant(phantom_lake, "grouped", rows, level="series", cohort="all")
    run = evaluate(phantom_lake, "grouped", subgroups=["patient_sex", "age", "nodule"])
    sexes = {row[0]: row[2] for row in found}
    for sex in set(sexes.values()):
        inside = [row for row in rows if sexes[row["subject"]] == sex]
        truth, score = held_out(inside)
        given = run.result["subgroups"]["patient_sex"][sex]
        assert given["roc_auc"]["value"] == pytest.approx(area(truth, score))
    assert sum(map(bool, run.result["subgroups"]["nodule"])) == 2
    stored = phantom_lake.sql(
        "select distinct subgroup from scores where subgroup like 'patient_sex%' order by 1"
    ).rows()
    assert [row[0] for row in stored] == sorted(f"patient_sex = {sex}" for sex in set(sexes.values()))
    with pytest.raises(UsageError, match=r"no subgroup 'manufacturr'.*did you mean 'manufacturer'"):
        evaluate(phantom_lake, "grouped", subgroups=["manufacturr"])


def test_rows_from_outside_have_no_subgroups(lake: Lake, plant: Plant, binary_rows: MakeRows) -> None:
    names = row_names(20)
    plant(lake, "plain", binary_rows(names, names))
    with pytest.raises(UsageError, match="rows of a table from outside"):
        evaluate(lake, "plain", subgroups=["age"])


def number_rows(count: int, *, event: bool = False) -> Rows:
    draw = np.random.default_rng(3)
    truth = draw.uniform(10, 90, count)
    value = (-truth if event else truth) + draw.normal(0, 10, count)
    return [
        {
            "subject": f"r{place:03}",
            "group": f"r{place:03}",
            "part": "test",
            "fold": place % 2,
            "class": None,
            "value": float(value[place]),
            "truth_value": float(truth[place]),
            "truth": str(int(place % 4 != 0)) if event else None,
        }
        for place in range(count)
    ]


def test_numbers_are_scored(lake: Lake, plant: Plant) -> None:
    rows = number_rows(60)
    plant(lake, "age", rows, kind="regression", classes=(), target="age")
    scores = evaluate(lake, "age").result["scores"]
    off = np.array([row["value"] - row["truth_value"] for row in rows])
    assert scores["mean_absolute_error"]["value"] == pytest.approx(np.abs(off).mean())
    assert scores["root_mean_squared_error"]["value"] == pytest.approx(np.sqrt((off**2).mean()))
    low, high = (scores["mean_absolute_error"][end] for end in ("low", "high"))
    assert low < np.abs(off).mean() < high
    worse = [{**row, "value": row["value"] + 15} for row in rows]
    plant(lake, "worse", worse, kind="regression", classes=(), target="age")
    found = evaluate(lake, "age", against="worse").result["comparison"]["mean_absolute_error"]
    assert found["difference"] == pytest.approx(np.abs(off).mean() - np.abs(off + 15).mean())
    assert found["high"] < 0


def test_risks_are_scored_by_concordance(lake: Lake, plant: Plant) -> None:
    rows = number_rows(60, event=True)
    plant(lake, "risk", rows, kind="survival", classes=(), target="")
    scores = evaluate(lake, "risk").result["scores"]
    right = total = 0.0
    for one in rows:
        for other in rows:
            if one["truth"] == "1" and one["truth_value"] < other["truth_value"]:
                total += 1
                right += (one["value"] > other["value"]) + 0.5 * (one["value"] == other["value"])
    assert next(iter(scores.values()))["value"] == pytest.approx(right / total)


def test_kinds_without_predictions_give_their_own_figures(lake: Lake, plant: Plant) -> None:
    figure = {
        "name": "silhouette",
        "value": 0.5,
        "low": 0.4,
        "high": None,
        "level": 0.95,
        "method": "m",
        "samples": 9,
        "groups": 9,
    }
    plant(
        lake, "kinds", [], kind="clustering", classes=(), target="", results={"estimates": [figure]}, folds=[]
    )
    run = evaluate(lake, "kinds")
    assert run.result["scores"] == {"silhouette": {"value": 0.5, "low": 0.4, "high": None}}
    assert (run.result["part"], run.counts["seen"]) == ("fit", 0)
    assert lake.sql("select metric, part, value from scores").rows() == [("silhouette", "fit", 0.5)]


@pytest.mark.parametrize(
    ("age", "band"),
    [
        ("017Y", "under 18"),
        ("018Y", "18 to 39"),
        ("011M", "under 18"),
        ("059Y", "40 to 59"),
        ("080Y", "80 and over"),
        (None, None),
        ("45", None),
        ("0x5Y", None),
    ],
)
def test_bands_of_age(age: str | None, band: str | None) -> None:
    assert age_band(age) == band
