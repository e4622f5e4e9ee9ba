"""Tables from outside, joined by their subjects, and subgroups by what they carried along."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.evaluation.evaluate import evaluate
from voxlake.lake.lake import Lake
from voxlake.learning.mine import mine
from voxlake.learning.mined import get_mined
from voxlake.learning.mining import MiningTask
from voxlake.learning.predict import predict
from voxlake.learning.tables.gather import gather_table
from voxlake.metrics.classification import roc_auc
from voxlake.privacy.pseudonyms import Pseudonymiser

FAST = {"folds": {"outer": 2, "inner": 2}, "search": {"estimators": ["logistic"], "candidates": 1}}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(limits=1):
        yield


def write(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def cases(patients: Sequence[int]) -> list[dict[str, object]]:
    return [
        {"case": f"c{one}-{part}", "who": f"Name^{one}", "verdict": ("good", "bad")[one % 2], "age": 30 + one}
        for one in patients
        for part in range(2)
    ]


def labs(patients: Sequence[int]) -> list[dict[str, object]]:
    draw = np.random.default_rng(1)
    return [
        {
            "id": row["case"],
            "size": f"{2 * (row['verdict'] == 'bad') + draw.normal():.4f}",
            "site": "abc"[int(str(row["case"]).split("-")[0][1:]) % 3],
            "code": int(draw.integers(3)),
        }
        for row in cases(patients)
    ]


def asked(folder: Path, **more: Any) -> MiningTask:
    first = {"source": "file", "path": str(folder / "cases.csv"), "subject": "case"}
    other = {"source": "file", "path": str(folder / "labs.csv"), "subject": "id"}
    shared = {"name": "joined", "kind": "classification", "target": "verdict", "group": "who"}
    return MiningTask.read({**shared, "inputs": [first, other], **FAST, **more})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty patients with two cases each; the other table lacks one case and has one of somebody else."""
    write(tmp_path / "cases.csv", cases(range(20)))
    write(tmp_path / "labs.csv", labs(range(21))[1:-1][::-1])
    return tmp_path


def test_columns_are_joined_by_subject(lake: Lake, folder: Path) -> None:
    table = gather_table(lake, asked(folder, asides=["site"], categories=["code"]), None)
    names = Pseudonymiser(lake.key)
    assert table.subjects == tuple(names.token("row", str(row["case"])) for row in cases(range(20)))
    assert table.names == ("age", "size", "code")
    assert list(table.column("age").values) == [row["age"] for row in cases(range(20))]
    by_case = {row["id"]: row for row in labs(range(21))[1:-1]}
    for place, row in enumerate(cases(range(20))):
        known = by_case.get(row["case"])
        size, code, site = (table.column(name).values[place] for name in ("size", "code", "site"))
        if known is None:
            assert (place, np.isnan(size), code, site) == (0, True, None, None)
        else:
            assert (size, code, site) == (float(str(known["size"])), str(known["code"]), known["site"])
    first, second = table.sources["inputs"]
    assert (first["rows"], second["rows"], second["matched"]) == (40, 40, 39)
    assert first["sha256"] != second["sha256"]


def test_several_rows_of_one_subject_are_combined(lake: Lake, folder: Path) -> None:
    visits = [{"id": f"c0-{part}", "size": size} for part, size in ((0, 1), (0, 4), (0, ""), (1, 7))]
    write(folder / "labs.csv", visits)
    for combine, value in (("mean", 2.5), ("max", 4.0)):
        table = gather_table(lake, asked(folder, combine=combine), None)
        assert list(table.column("size").values[:2]) == [value, 7.0]
        assert np.isnan(table.column("size").values[2:]).all()


def _more(folder: Path, **values: object) -> dict[str, Any]:
    return {"source": "file", "path": str(folder / "labs.csv"), "subject": "id", **values}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"subject": None}, UsageError, "2 tables are joined by their subjects: each needs the name"),
        ({"subject": "ide"}, NotFoundError, "no column 'ide'; did you mean 'id'"),
        ({"identifiers": "lake"}, UsageError, "need the same 'identifiers'"),
        (
            {"include": ["sise"]},
            NotFoundError,
            r"table 2 of the task gives no column named \['sise'\]; did you",
        ),
        ({"prefix": "", "path": "nowhere.csv"}, NotFoundError, "no such table"),
    ],
)
def test_tables_that_cannot_be_joined(
    lake: Lake, folder: Path, change: dict[str, object], error: type[Exception], message: str
) -> None:
    first = asked(folder).inputs[0].model_dump()
    with pytest.raises(error, match=message):
        gather_table(lake, asked(folder, inputs=[first, _more(folder, **change)]), None)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "x1", "size": 1}], "no subject of table 2 of the task stands in the first table"),
        (
            [{"id": "c0-0", "size": 1}, {"id": "", "size": 2}],
            "table 2 of the task has 1 rows without a subject",
        ),
        ([{"id": "c0-0", "age": 1}], "two inputs have a column 'age'"),
        ([{"id": "c0-0", "who": "Name^7", "size": 1}], "1 rows of table 2 of the task have another 'who'"),
    ],
)
def test_tables_that_contradict_each_other(
    lake: Lake, folder: Path, rows: list[dict[str, object]], message: str
) -> None:
    write(folder / "labs.csv", rows)
    with pytest.raises(UsageError, match=message):
        gather_table(lake, asked(folder), None)


def test_a_patient_who_is_named_twice_is_no_column(lake: Lake, folder: Path) -> None:
    write(folder / "labs.csv", [{"id": "c0-0", "who": "Name^0", "size": 1}])
    assert gather_table(lake, asked(folder), None).names == ("age", "size")


def test_other_sources_need_a_cohort(lake: Lake, folder: Path) -> None:
    inputs = [asked(folder).inputs[0].model_dump(), {"source": "labels", "include": ["nodule"]}]
    with pytest.raises(UsageError, match="name a cohort to bring others together"):
        gather_table(lake, asked(folder, inputs=inputs), None)


def test_joined_tables_are_mined_as_one_table_would_be(
    lake: Lake, folder: Path, new_lake: Callable[..., Lake]
) -> None:
    run = mine(lake, asked(folder, asides=["site", "age"]), progress=False)
    assert run.balance() == "40 seen = 40 stored"
    by_case = {row["id"]: row for row in labs(range(21))[1:-1]}
    nothing = {"size": "", "site": "", "code": ""}
    whole = [
        {**row, **{name: by_case.get(row["case"], nothing)[name] for name in nothing}}
        for row in cases(range(20))
    ]
    write(folder / "whole.csv", whole)
    one = {"source": "file", "path": str(folder / "whole.csv"), "subject": "case"}
    other = new_lake("other")
    mine(other, asked(folder, inputs=[one], asides=["site", "age"]), progress=False)
    said = 'select subject, part, fold, "class", probability, truth from predictions order by all'
    assert lake.sql(said).rows() == other.sql(said).rows()
    _check_subgroups(lake, whole)
    _check_others(lake, folder)


def _check_subgroups(lake: Lake, whole: Sequence[Mapping[str, Any]]) -> None:
    """Columns that were carried along divide the rows: classes by value, numbers by thirds."""
    found = evaluate(lake, "joined", subgroups=["site", "age"]).result["subgroups"]
    names = Pseudonymiser(lake.key)
    rows = lake.sql("select subject, probability, truth from predictions "
                    "where part = 'test' and \"class\" = 'good'").rows()  # fmt: skip
    said = {subject: (truth == "good", probability) for subject, probability, truth in rows}
    for site in "abc":
        inside = [said[names.token("row", row["case"])] for row in whole if row["site"] == site]
        expected = float(roc_auc([truth for truth, _ in inside], [score for _, score in inside]))
        assert found["site"][site]["roc_auc"]["value"] == pytest.approx(expected)
    assert set(found["site"]) == {"a", "b", "c", "missing"}
    ages = sorted(row["age"] for row in whole)
    low, high = np.quantile(ages, [1 / 3, 2 / 3])
    assert set(found["age"]) == {
        f"below {low:.4g}",
        f"{low:.4g} to below {high:.4g}",
        f"{high:.4g} and above",
    }
    with pytest.raises(UsageError, match=r"no subgroup 'size': these are rows of a table from outside.*site"):
        evaluate(lake, "joined", subgroups=["size"])


def _check_others(lake: Lake, folder: Path) -> None:
    """The model speaks about other rows, given as many tables."""
    write(folder / "more.csv", [{**row, "verdict": ""} for row in cases(range(18, 24))])
    write(folder / "values.csv", labs(range(24)))
    with pytest.raises(UsageError, match="made with 2 CSV files, got 1"):
        predict(lake, "joined", str(folder / "more.csv"))
    run = predict(lake, "joined", str(folder / "more.csv"), table=[str(folder / "values.csv")])
    assert run.balance() == "12 seen = 12 stored"
    parts = lake.sql(
        "select part, count(distinct subject) from predictions where part in ('new', 'seen') group by 1 "
        "order by 1"
    ).rows()
    assert parts == [("new", 8), ("seen", 4)]
    card = get_mined(lake, "joined").card
    assert [one["name"] for one in card["variables"]] == ["size", "code"]
    kept = json.loads(get_mined(lake, "joined").get("asides.json"))
    assert set(kept) == {"site", "age"}
    assert kept["age"]["kind"] == "number"
