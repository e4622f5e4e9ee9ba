"""The leakage audit finds what was planted, of each kind, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from voxlake.core.errors import LeakageError, UsageError
from voxlake.evaluation.audit import KINDS, audit
from voxlake.evaluation.audit_lake import audit_subjects
from voxlake.evaluation.audit_section import describe_audit
from voxlake.lake.lake import Lake
from voxlake.lake.quality.perceptual_hash import to_hexadecimal


def marked(**kinds: str) -> dict[str, frozenset[str]]:
    return {kind: frozenset({mark}) for kind, mark in kinds.items()}


CLEAN = {
    "a": marked(patient="p1", study="s1", identical="x1"),
    "b": marked(patient="p1", study="s1", identical="x2"),
    "c": marked(patient="p2", study="s2", identical="x3"),
    "d": marked(study="s3", identical="x4"),
}
PARTS = {"train": ["a", "b"], "validation": ["c"], "test": ["d"]}


def test_nothing_is_found_where_nothing_is_shared() -> None:
    found = audit([PARTS], CLEAN, images=4, measured=4)
    assert found.holds
    found.require()
    assert found.compared == {"patient": 2, "study": 3, "group": 0, "identical": 4, "near_duplicate": 0}
    assert found.parts == {"train": 2, "validation": 1, "test": 1}
    assert found.without_patient == 1


@pytest.mark.parametrize("kind", list(KINDS))
def test_each_kind_is_found_and_stops_the_run(kind: str) -> None:
    planted = {
        **CLEAN,
        "b": {**CLEAN["b"], kind: frozenset({"shared"})},
        "d": {**CLEAN["d"], kind: frozenset({"shared"})},
    }
    found = audit([PARTS, {"train": ["a"], "test": ["c"]}], planted)
    assert [(leak.kind, leak.fold, leak.first, leak.second) for leak in found.leaks] == [
        (kind, 0, "train", "test")
    ]
    assert (found.leaks[0].count, found.leaks[0].example) == (1, "shared")
    with pytest.raises(LeakageError, match=f"1 {KINDS[kind]} stand both in 'train' and in 'test' of fold 1"):
        found.require()
    # On one side of a fold, the two may stand together.
    assert audit([{"train": ["b", "d"], "test": ["c"]}], planted).holds


def test_findings_are_counted_and_sorted_by_kind() -> None:
    planted = {subject: {**marks, "near_duplicate": frozenset({"n"})} for subject, marks in CLEAN.items()}
    planted["c"] = {**planted["c"], "patient": frozenset({"p1"})}
    found = audit([PARTS], planted)
    assert [(leak.kind, leak.first, leak.second) for leak in found.leaks] == [
        ("patient", "train", "validation"),
        ("near_duplicate", "train", "test"),
        ("near_duplicate", "train", "validation"),
        ("near_duplicate", "validation", "test"),
    ]
    with pytest.raises(LeakageError, match="and 3 more findings"):
        found.require()


def test_the_lake_says_what_stands_behind_series(phantom_lake: Lake) -> None:
    rows = phantom_lake.sql("select series_instance_uid, patient_id from series order by 1").rows()
    series = [row[0] for row in rows]
    fold = {"train": series[:16], "test": series[16:]}
    found = audit_subjects(phantom_lake, "series", [fold])
    assert found.holds
    assert found.compared["patient"] == found.compared["study"] == 24
    assert (found.images, found.measured) == (24 * 8, 0)
    assert found.compared["identical"] == 24 * 8
    # A patient on two sides: the series of the patient as a subject of its own.
    patients = {"train": [rows[0][1]], "test": [rows[0][1]]}
    assert [leak.kind for leak in audit_subjects(phantom_lake, "patient", [patients]).leaks] == [
        "patient",
        "study",
        "identical",
    ]


def test_near_duplicates_across_parts_are_found(phantom_lake: Lake) -> None:
    series = [row[0] for row in phantom_lake.sql("select series_instance_uid from series order by 1").rows()]
    digits = np.random.default_rng(0)
    words = {uid: digits.integers(0, 2**63, (4,), np.uint64) for uid in series}
    words[series[20]] = words[series[0]] ^ np.array([2, 0, 0, 0], np.uint64)
    images = phantom_lake.sql("select series_instance_uid, sha256 from instances").rows()
    phantom_lake.tables.append(
        "fingerprints",
        [
            {
                "sha256": digest,
                "version": 1,
                "pixel_digest": digest,
                "perceptual_hash": to_hexadecimal(words[uid]),
                "share_common": 0.0,
            }
            for uid, digest in images
        ],
    )
    found = audit_subjects(phantom_lake, "series", [{"train": series[:16], "test": series[16:]}])
    assert [(leak.kind, leak.count) for leak in found.leaks] == [("near_duplicate", 1)]
    assert found.leaks[0].example == f"{series[0]} and {series[20]}"
    assert found.measured == 24 * 8
    together = {"train": [*series[:16], series[20]], "test": [*series[16:20], *series[21:]]}
    assert audit_subjects(phantom_lake, "series", [together]).holds


def test_rows_from_outside_have_their_group_alone(lake: Lake) -> None:
    groups = {"r1": "g1", "r2": "g1", "r3": "g2"}
    found = audit_subjects(lake, "row", [{"train": ["r1"], "test": ["r2", "r3"]}], groups=groups)
    assert [(leak.kind, leak.example) for leak in found.leaks] == [("group", "g1")]
    assert audit_subjects(lake, "row", [{"train": ["r1", "r2"], "test": ["r3"]}], groups=groups).holds
    with pytest.raises(UsageError, match="unknown level 'voxel'"):
        audit_subjects(lake, "voxel", [{"train": ["r1"], "test": ["r2"]}])


def test_rows_from_outside_may_have_patients(lake: Lake) -> None:
    fold = {"train": ["r1"], "test": ["r2", "r3"]}
    found = audit_subjects(lake, "row", [fold], patients={"r1": "P-A", "r2": "P-A"})
    assert [(leak.kind, leak.example) for leak in found.leaks] == [("patient", "P-A")]
    assert found.compared["patient"] == 1
    assert found.without_patient == 1
    assert audit_subjects(lake, "row", [fold], patients={"r1": "P-A", "r2": "P-B", "r3": "P-B"}).holds


def test_the_section_says_what_could_not_be_known() -> None:
    section = describe_audit(audit([PARTS], CLEAN, images=10, measured=4))
    rows = {row[0]: row[1:] for row in section.tables[0].rows}
    assert rows["Patients"] == (2, 0)
    assert rows["Pairs of series that look the same"] == (0, 0)
    assert "4 of 10 images" in " ".join(section.words)
    assert "Of 1 subjects no patient is known" in " ".join(section.words)
    unmeasured = describe_audit(audit([PARTS], CLEAN, images=10))
    rows = {row[0]: row[1:] for row in unmeasured.tables[0].rows}
    assert rows["Pairs of series that look the same"] == (None, None)
