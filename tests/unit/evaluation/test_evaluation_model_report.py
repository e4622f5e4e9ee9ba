"""Reports about models: what the page says, the model card, and rebuilding an earlier report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxlake.core.errors import IntegrityError, LeakageError, NotFoundError, UsageError
from voxlake.evaluation.calibration_section import describe_calibration, recalibrated
from voxlake.evaluation.card_facts import card_facts
from voxlake.evaluation.claim_items import CLAIM
from voxlake.evaluation.content import ReportData
from voxlake.evaluation.judged import judge
from voxlake.evaluation.model_card import NOT_REPORTED, answer, describe_card
from voxlake.evaluation.model_report import describe_model
from voxlake.evaluation.record import differences, figures_digest, figures_of
from voxlake.evaluation.report import report
from voxlake.evaluation.scored import Scored
from voxlake.evaluation.speaker import get_speaker
from voxlake.evaluation.tripod_items import TRIPOD
from voxlake.lake.lake import Lake
from voxlake.metrics.decision import net_benefit
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.recalibration import fit_recalibration

Rows = list[dict[str, Any]]
Plant = Callable[..., str]
MakeRows = Callable[..., Rows]


def anchors(data: ReportData) -> list[str]:
    return [section.anchor for section in data.sections]


def test_checklists_have_every_item_once() -> None:
    assert [item.number for item in CLAIM] == [str(number) for number in range(1, 45)]
    numbers = [item.number for item in TRIPOD]
    assert len(numbers) == len(set(numbers)) == 52
    assert {number.rstrip("abcdefg") for number in numbers} == {str(number) for number in range(1, 28)}


def test_an_item_is_answered_by_its_topics_or_not_reported() -> None:
    item = next(item for item in CLAIM if item.number == "8")
    assert answer(item, {"eligibility": "All.", "flow": "See."}) == "All. See."
    assert answer(item, {"flow": "See."}) == "See."
    assert answer(item, {}) == NOT_REPORTED
    funding = next(item for item in CLAIM if item.number == "44")
    assert answer(funding, {"limitations": "Some."}) == NOT_REPORTED
    section = describe_card({})
    assert all(row[-1] == NOT_REPORTED for table in section.tables for row in table.rows)
    assert "96 items, 96 say" in section.words[1]


def test_what_the_items_ask_for_is_known_somewhere(
    phantom_lake: Lake, plant: Plant, binary_rows: MakeRows
) -> None:
    found = phantom_lake.sql("select series_instance_uid, patient_id from series order by 2").rows()
    series, patients = [row[0] for row in found], [row[1] for row in found]
    plant(
        phantom_lake, "known", binary_rows(series, patients, patients=patients), level="series", cohort="all"
    )
    judged = judge(get_speaker(phantom_lake, "known"), None)
    facts = card_facts(judged, summary="Well.", limitations=("Few.",), subgroups=True)
    assert facts["sources"].startswith("24 series of 24 patients")
    assert facts["acquisition"].startswith("Modalities: CT. Manufacturers: voxlake")
    assert "Missing numbers were replaced by the median" in facts["missing"]
    assert "2 no_label" in facts["missing"]
    assert facts["outcome"].startswith("Outcome among those scored: no ")
    assert "near-duplicates were not searched for" in facts["disjoint"]
    assert facts["software"].endswith("scikit-learn 1.9.")
    assert not any("{" in sentence for sentence in facts.values())
    asked = {topic for item in (*CLAIM, *TRIPOD) for topic in item.topics}
    assert set(facts) <= asked | {"readers_test"}


def test_a_report_about_a_table_model(
    lake: Lake, plant: Plant, binary_rows: MakeRows, tmp_path: Path
) -> None:
    names = [f"r{number:03}" for number in range(120)]
    rows = binary_rows(names, names)
    plant(
        lake, "tabled", rows, results={"importance": [{"name": "size", "value": 0.1, "low": 0, "high": 0.2}]}
    )
    data = describe_model(get_speaker(lake, "tabled"), None, None)
    assert anchors(data) == ["audit", "calibration", "decision", "variables", "importance", "card"]
    variables = next(section for section in data.sections if section.anchor == "variables")
    assert variables.tables[0].rows == (
        ("size", "number", "file", 1),
        ("seen (3 coordinates)", "vector", "embeddings", 2),
    )
    assert data.group == data.unit == "rows"
    assert "On 120 rows that the model had not seen" in data.summary
    assert "of 120 rows" not in data.summary
    assert any("No patient is known of any sample" in note for note in data.limitations)
    decision = next(section for section in data.sections if section.anchor == "decision")
    truth = [row["truth"] == "yes" for row in rows if row["part"] == "test" and row["class"] == "yes"]
    score = [row["probability"] for row in rows if row["part"] == "test" and row["class"] == "yes"]
    shown = dict(zip(("5%", "10%", "20%", "30%", "40%", "50%"), decision.tables[0].rows, strict=True))
    for name, row in shown.items():
        assert row[0] == name
        assert row[1] == pytest.approx(net_benefit(truth, score, float(name[:-1]) / 100))
    page = tmp_path / "page.html"
    run = report(lake, "tabled", output=page)
    text = page.read_text()
    for heading in (
        "Leakage audit",
        "Calibration",
        "Decision curve",
        "Model card",
        "CLAIM, 2024 update",
        "TRIPOD+AI",
    ):
        assert heading in text
    assert text.count("<svg") >= 6
    assert (
        run.result["figures"] == json.loads(lake.objects.get(f"reports/{run.run_id}/figures.json"))["digest"]
    )


def test_a_leak_gives_no_report(lake: Lake, plant: Plant, binary_rows: MakeRows) -> None:
    names = [f"r{number}" for number in range(40)]
    plant(lake, "leaky", binary_rows(names, names), folds=[{"train": names[:1], "test": names}])
    with pytest.raises(LeakageError):
        report(lake, "leaky")
    assert not list(lake.objects.list("reports"))


def test_recalibration_is_fitted_on_validation_only(lake: Lake, plant: Plant, binary_rows: MakeRows) -> None:
    names = [f"r{number:03}" for number in range(160)]
    rows = binary_rows(names, names)
    plant(lake, "bold", rows)
    scored = judge(get_speaker(lake, "bold"), None).scored
    assert isinstance(scored, Scored)
    values = recalibrated(scored, "platt")
    assert values is not None
    for fold in (0, 1):
        part = scored.validation[fold]
        expected = fit_recalibration("platt", part.is_positive, part.score).apply(
            scored.score[scored.folds == fold]
        )
        np.testing.assert_allclose(values[scored.folds == fold], expected)
    # Other test labels change nothing of it.
    flipped = replace(scored, truth=1 - scored.truth)
    np.testing.assert_array_equal(recalibrated(flipped, "platt"), values)
    few = replace(scored, validation={fold: part.take(range(10)) for fold, part in scored.validation.items()})
    assert recalibrated(few, "platt") is None
    section = describe_calibration(few)
    assert section is not None
    assert "No recalibration is shown" in section.words[-1]
    assert len(section.tables) == 1


def test_numbers_and_risks_have_pages(lake: Lake, plant: Plant) -> None:
    draw = np.random.default_rng(0)
    rows = [
        {
            "subject": f"r{place:02}",
            "group": f"r{place:02}",
            "part": "test",
            "fold": place % 2,
            "class": None,
            "value": float(place + draw.normal()),
            "truth_value": float(place),
            "truth": str(place % 2),
        }
        for place in range(60)
    ]
    plant(lake, "number", rows, kind="regression", classes=(), target="age")
    data = describe_model(get_speaker(lake, "number"), None, None)
    assert anchors(data) == ["audit", "agreement", "variables", "card"]
    agreement = data.sections[1]
    bias = agreement.tables[0].rows[0][1]
    assert bias.value == pytest.approx(np.mean([row["value"] - row["truth_value"] for row in rows]))  # type: ignore[union-attr]  # a cell with an interval
    worst = agreement.tables[1].rows[0]
    assert abs(worst[3]) == pytest.approx(max(abs(row["value"] - row["truth_value"]) for row in rows))  # type: ignore[arg-type]  # a cell with a number
    plant(lake, "risk", rows, kind="survival", classes=(), target="")
    data = describe_model(get_speaker(lake, "risk"), None, None)
    assert anchors(data) == ["audit", "survival", "variables", "card"]
    order = sorted(rows, key=lambda row: row["value"])
    events = [sum(row["truth"] == "1" for row in order[start : start + 20]) for start in (0, 20, 40)]
    assert [row[1:] for row in data.sections[1].tables[0].rows] == [(20, count) for count in events]


def test_agreement_says_how_patients_with_several_samples_count(lake: Lake, plant: Plant) -> None:
    draw = np.random.default_rng(1)
    rows = [
        {
            "subject": f"r{place:02}",
            "group": f"g{place // 4 if place < 40 else place:02}",
            "part": "test",
            "fold": (place // 4) % 2,
            "class": None,
            "value": float(place + (2 if place < 40 else 0) + draw.normal()),
            "truth_value": float(place),
        }
        for place in range(60)
    ]
    plant(lake, "repeated", rows, kind="regression", classes=(), target="age")
    agreement = describe_model(get_speaker(lake, "repeated"), None, None).sections[1]
    name, bias = agreement.tables[0].rows[0]
    assert name == "Bias: mean over groups of their mean difference"
    by_group: dict[str, list[float]] = {}
    for row in rows:
        by_group.setdefault(str(row["group"]), []).append(row["value"] - row["truth_value"])  # type: ignore[operator]  # both are numbers
    assert bias.value == pytest.approx(np.mean([np.mean(one) for one in by_group.values()]))  # type: ignore[union-attr]  # a cell with an interval
    over_samples = np.mean([row["value"] - row["truth_value"] for row in rows])
    assert bias.value != pytest.approx(over_samples, abs=0.1)  # type: ignore[union-attr]  # as above
    assert "Some groups have several samples" in agreement.words[1]


def test_calibration_of_several_classes(lake: Lake, plant: Plant) -> None:
    names, draw = ("cyst", "none", "solid"), np.random.default_rng(4)
    logits = draw.normal(size=(300, 3)) * 1.5
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([draw.choice(3, p=one) for one in true])
    # Three times as certain as it should be.
    bold = np.exp(3 * logits) / np.exp(3 * logits).sum(axis=1, keepdims=True)
    rows = [
        {
            "subject": f"r{place:03}",
            "group": f"g{place // 2:03}",
            "part": part,
            "fold": place // 2 % 2 if part == "test" else 1 - place // 2 % 2,
            "class": name,
            "probability": float(bold[place, number]),
            "truth": names[truth[place]],
        }
        for place in range(300)
        for part in ("test", "validation")
        for number, name in enumerate(names)
    ]
    plant(lake, "three", rows, classes=names)
    data = describe_model(get_speaker(lake, "three"), None, None)
    section = next(one for one in data.sections if one.anchor == "calibration")
    assert [trace.name for trace in section.plots[0].traces] == list(names)
    given, compared = section.tables
    said = bold.argmax(axis=1)
    errors = [by_bins(truth == said, bold.max(axis=1))]
    errors += [by_bins(truth == number, bold[:, number]) for number in range(3)]
    for row, error in zip(given.rows, errors, strict=True):
        cell = row[2]
        assert isinstance(cell, Estimate)
        assert cell.value == pytest.approx(error)
        assert (cell.samples, cell.groups) == (300, 150)
        assert cell.low < cell.value <= cell.high
    assert [row[1] for row in given.rows] == [300, *np.bincount(truth).tolist()]
    for row in given.rows[1:]:
        slope = row[3]
        assert isinstance(slope, Estimate)
        assert slope.high < 0.7
    before, after = compared.rows
    assert isinstance(before[1], Estimate)
    assert isinstance(after[1], Estimate)
    assert after[1].value < before[1].value / 2
    assert float(after[3]) < float(before[3])  # type: ignore[arg-type]  # cells with numbers
    assert before[3] == pytest.approx(-np.log(bold[np.arange(300), truth]).mean())


def by_bins(came_true: Any, probability: Any) -> float:
    """Expected calibration error by definition: ten bins of equal number, each counting by its share."""
    order = np.argsort(probability, kind="stable")
    return float(
        sum(
            abs(came_true[part].mean() - probability[part].mean()) * len(part) / len(order)
            for part in np.array_split(order, 10)
        )
    )


def test_other_kinds_show_what_they_wrote_down(lake: Lake, plant: Plant) -> None:
    results = {
        "clusters": 3,
        "sizes": [{"cluster": "a", "rows": 5}, {"cluster": "b", "rows": 4}],
        "estimates": [{"name": "silhouette", "value": 0.5, "low": 0.4, "high": 0.6}],
        "nothing": None,
        "chosen": {"metric": "euclidean"},
    }
    plant(lake, "kinds", [], kind="clustering", classes=(), target="", results=results, folds=[])
    data = describe_model(get_speaker(lake, "kinds"), None, None)
    mined = next(section for section in data.sections if section.anchor == "mined")
    assert [table.caption for table in mined.tables] == ["Results", "Sizes", "Chosen"]
    assert mined.tables[0].rows == (("Clusters", 3),)
    assert mined.tables[1].rows == (("a", 5), ("b", 4))
    assert data.estimates[0].value == 0.5
    assert any("Nothing was held apart" in note for note in data.limitations)


def test_a_report_can_be_rebuilt(lake: Lake, plant: Plant, binary_rows: MakeRows) -> None:
    names = [f"r{number:02}" for number in range(60)]
    rows = binary_rows(names, names)
    plant(lake, "twice", rows)
    first = report(lake, "twice", questions=[("How many?", "select count(*) as n from predictions")])
    same = report(lake, first.run_id, rebuild=True)
    assert (same.result["same"], same.result["different"]) == (True, 0)
    assert same.result["figures"] == same.result["was"] == first.result["figures"]
    assert same.arguments["subject"] == "twice"
    # A question that has another answer now, and nothing else.
    added = rows[0] | {"model_id": "other", "cohort_id": "other", "run_id": "r", "part": "new"}
    lake.tables.append("predictions", [added])
    other = report(lake, first.run_id, rebuild=True)
    assert other.result["same"] is False
    assert other.result["differences"] == [
        {"figure": "ingest/questions/0/answer/rows/0/0", "was": 240, "now": 241}
    ]
    assert other.arguments["rebuilds"] == first.run_id


def test_what_cannot_be_rebuilt_says_why(lake: Lake, plant: Plant, binary_rows: MakeRows) -> None:
    names = [f"r{number:02}" for number in range(40)]
    plant(lake, "once", binary_rows(names, names))
    run = report(lake, "once")
    with pytest.raises(UsageError, match="leave out against, subgroups"):
        report(lake, run.run_id, rebuild=True, against="x", subgroups=["age"])
    with pytest.raises(NotFoundError, match="no run 'once'"):
        report(lake, "once", rebuild=True)
    name = f"reports/{run.run_id}/figures.json"
    content = json.loads(lake.objects.get(name))
    content["figures"]["summary"] = "Perfect."
    lake.objects.put(name, json.dumps(content).encode())
    with pytest.raises(IntegrityError, match="do not have their digest"):
        report(lake, run.run_id, rebuild=True)
    lake.objects.delete(name)
    with pytest.raises(NotFoundError, match="no figures of report"):
        report(lake, run.run_id, rebuild=True)


def test_figures_leave_out_when_and_by_whom() -> None:
    data = ReportData(title="T", task="t", summary="s", created="now", prevalence=1 / 3)
    figures = figures_of(data)
    assert "created" not in figures
    assert figures["prevalence"] == 0.333333333
    later = figures_of(replace(data, created="later", made_by="voxlake 9"))
    assert figures_digest(figures) == figures_digest(later)
    changed = figures_of(replace(data, prevalence=0.4, classes=("a",)))
    assert [(one.figure, one.was, one.now) for one in differences(figures, changed)] == [
        ("classes/0", None, "a"),
        ("prevalence", 0.333333333, 0.4),
    ]
    tiny = figures_of(replace(data, prevalence=1 / 3 + 1e-13))
    assert differences(figures, tiny) == []
    assert figures_of(replace(data, prevalence=float("nan")))["prevalence"] == "nan"
