"""Cohorts are frozen and versioned; labels find their subjects; SQL reads the lake."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from voxlake.core.errors import NotFoundError, QueryError, SettingsError, UsageError
from voxlake.lake.cohorts import cohort_list, cohort_show, get_cohort, select
from voxlake.lake.ingest import ingest
from voxlake.lake.label import label
from voxlake.lake.lake import Lake
from voxlake.lake.resolve import resolve_labels
from voxlake.lake.sql import sql
from voxlake.sources.phantoms import Phantoms


@pytest.fixture
def filled(filled_lake: Lake) -> Lake:
    """A lake with four phantom series."""
    return filled_lake


def test_a_series_is_described(filled: Lake) -> None:
    rows = sql(
        filled, "select geometry, slices, instances, images, modality, rows, columns, patient_sex from series"
    ).rows()
    assert {row[:7] for row in rows} == {("regular", 8, 8, 8, "CT", 16, 16)}
    assert {row[7] for row in rows} <= {"F", "M", "O"}
    assert sql(filled, "select count(*), sum(series), sum(instances) from patients").rows() == [(4, 4, 32)]
    assert sql(filled, "select count(*), sum(images) from studies").rows() == [(4, 32)]


def test_every_tag_can_be_queried(filled: Lake) -> None:
    found = sql(
        filled,
        "select distinct tags ->> '$.00080060.Value[0]', tags ->> '$.00120062.Value[0]' from instances",
    )
    assert found.rows() == [("CT", "YES")]


def test_selecting_again_writes_nothing(filled: Lake) -> None:
    first = select(filled, "all", "modality = 'CT'")
    again = select(filled, "all", "modality = 'CT'")
    assert (first.version, again.version, first.cohort_id) == (1, 1, again.cohort_id)
    assert first.run is not None
    assert again.run is not None
    assert first.run.counts == {"seen": 4, "stored": 4}
    assert again.run.counts == {"seen": 4, "already": 4}
    assert len(first.members()) == 4


def test_other_members_make_another_version(filled: Lake) -> None:
    select(filled, "some", "modality = 'CT'")
    ingest(
        filled, Phantoms(seed=9, patients=1, slices=8, rows=16, columns=16, second_study=0.0), engine="serial"
    )
    second = select(filled, "some", "modality = 'CT'")
    assert second.version == 2
    assert (get_cohort(filled, "some@1").series, get_cohort(filled, "some").series) == (4, 5)
    assert [row["version"] for row in cohort_list(filled)] == [1, 2]
    assert sql(filled, "select count(*) from cohort_some").rows() == [(5,)]


def test_showing_a_cohort(filled: Lake) -> None:
    select(filled, "all")
    shown = cohort_show(filled, "all")
    assert (shown["series"], shown["patients"], shown["condition"]) == (4, 4, "true")
    assert shown["modalities"] == [{"modality": "CT", "series": 4}]
    assert shown["labels"] == [
        {"name": "nodule", "value": "absent", "series": 2},
        {"name": "nodule", "value": "present", "series": 2},
    ]


def test_mistakes_are_explained(filled: Lake) -> None:
    select(filled, "brains")
    with pytest.raises(NotFoundError, match="no cohort 'brain'; did you mean 'brains'"):
        get_cohort(filled, "brain")
    with pytest.raises(NotFoundError, match="no cohort 'brains@7'"):
        get_cohort(filled, "brains@7")
    with pytest.raises(UsageError, match="cannot name a cohort"):
        select(filled, "1st try")
    with pytest.raises(UsageError, match="no series fits"):
        select(filled, "none", "modality = 'PT'")
    with pytest.raises(QueryError, match="modalty"):
        select(filled, "none", "modalty = 'PT'")
    with pytest.raises(QueryError):
        select(filled, "none", "true); drop table series; --")


def test_labels_by_original_identifier(filled: Lake, phantoms: Phantoms, tmp_path: Path) -> None:
    items = list(phantoms)
    names = tmp_path / "names"
    names.mkdir()
    (names / "x.dcm").write_bytes(items[0].read(2**30))
    original = pydicom.dcmread(names / "x.dcm")
    table = tmp_path / "labels.csv"
    table.write_text(
        "who,grade,size mm,reader,time,unit\n"
        f"{original.PatientID},high,12.5,A,2024-05-01T10:00:00,mm\n"
        "UNKNOWN-7,low,3,B,,\n"
        ",low,3,B,,\n"
    )
    run = label(filled, table, level="patient")
    assert run.counts == {"seen": 3, "stored": 2, "failed": 1}
    assert (run.result["labels"], run.result["subjects"], run.result["unmatched"]) == (4, 2, 1)
    row = sql(
        filled,
        "select value, number, unit, reader, labelled_at from labels join patients on subject = patient_id "
        "where name = 'size mm'",
    ).rows()
    assert [(value, number, unit, reader) for value, number, unit, reader, _ in row] == [
        ("12.5", 12.5, "mm", "A")
    ]
    assert row[0][4].isoformat() == "2024-05-01T10:00:00+00:00"
    assert str(original.PatientID) not in sql(filled, "select * from labels").df().to_csv()
    assert label(filled, table, level="patient").result["labels"] == 0
    by_study = tmp_path / "study.csv"
    by_study.write_text(f"study,side\n{original.StudyInstanceUID},left\n")
    assert label(filled, by_study, level="study").result["unmatched"] == 0
    cohort = select(filled, "all")
    assert list(resolve_labels(cohort, "grade").values.values()) == ["high"]
    assert list(resolve_labels(cohort, "side").values.values()) == ["left"]


def test_bad_label_files(filled: Lake, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    with pytest.raises(NotFoundError):
        label(filled, table, level="study")
    table.write_text("only\nx\n")
    with pytest.raises(SettingsError, match="has 1 columns"):
        label(filled, table, level="study")
    table.write_text("patient,grade\nx,y\n")
    with pytest.raises(SettingsError, match="no column 'pateint'; did you mean 'patient'"):
        label(filled, table, level="patient", subject="pateint")
    table.write_bytes(b"patient,grade\n\xff\xfe,y\n")
    with pytest.raises(SettingsError, match="not UTF-8"):
        label(filled, table, level="patient")


def test_the_nearest_label_counts_and_conflicts_are_kept_apart(filled: Lake, tmp_path: Path) -> None:
    cohort = select(filled, "all")
    resolved = resolve_labels(cohort, "nodule")
    assert sorted(resolved.values.values()) == ["absent", "absent", "present", "present"]
    first, second = cohort.members()[:2]
    table = tmp_path / "labels.csv"
    table.write_text(f"series,verdict\n{first.series_instance_uid},yes\n{second.series_instance_uid},yes\n")
    label(filled, table, level="series", identifiers="lake", reader="A")
    table.write_text(f"series,verdict\n{second.series_instance_uid},no\n")
    label(filled, table, level="series", identifiers="lake", reader="B")
    table.write_text(f"patient,verdict\n{first.patient_id},no\n{cohort.members()[2].patient_id},no\n")
    label(filled, table, level="patient", identifiers="lake", reader="B")
    resolved = resolve_labels(cohort, "verdict")
    assert resolved.values[first.series_instance_uid] == "yes"
    assert resolved.conflicts == {second.series_instance_uid: ("no", "yes")}
    assert resolved.values[cohort.members()[2].series_instance_uid] == "no"
    with pytest.raises(
        NotFoundError, match="no series of cohort 'all' has a label 'verdit'; did you mean 'verdict'"
    ):
        resolve_labels(cohort, "verdit")
