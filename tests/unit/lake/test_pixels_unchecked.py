"""Pixels that nobody checked stay outside until a waiver lets them in; rules of a policy reject objects."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake, open_lake
from voxlake.lake.quarantine import quarantine_list
from voxlake.privacy.policy import load_policy
from voxlake.privacy.rule_targets import sop_class_uid
from voxlake.sources.phantoms import Phantoms

ALL = """
name = "all"

[[waivers]]
what = "png"
reason = "noise, made by the test"

[[waivers]]
what = "modality:US"
reason = "noise, made by the test"

[[waivers]]
what = "sop_class:SecondaryCaptureImageStorage"
reason = "noise, made by the test"

[[waivers]]
what = "burned_in"
modality = "CT"
reason = "noise, made by the test"
"""
REJECTING = """
name = "rejecting"

[[rules]]
modality = "MR"
action = "reject"
why = "only CT was agreed upon"

[[rules]]
keyword = "ProtocolName"
pattern = "(?i)secret"
action = "reject"
"""


@pytest.fixture
def source(tmp_path: Path, phantoms: Phantoms) -> Path:
    """Five objects that a rule holds back, and three that none does."""
    folder = tmp_path / "in"
    folder.mkdir()
    changes: list[dict[str, object]] = [
        {"Modality": "US"},
        {"Modality": "US", "SOPClassUID": sop_class_uid("UltrasoundImageStorage")},
        {"Modality": "OT", "SOPClassUID": sop_class_uid("SecondaryCaptureImageStorage")},
        {"BurnedInAnnotation": "YES"},
        {"BurnedInAnnotation": "NO"},
        {"Modality": "MR"},
        {},
    ]
    for number, (item, change) in enumerate(zip(phantoms, changes, strict=False)):
        dataset = pydicom.dcmread(BytesIO(item.read(2**20)))
        for name, value in change.items():
            setattr(dataset, name, value)
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.SeriesInstanceUID = f"1.2.3.{number}"
        dataset.save_as(folder / f"{number}.dcm")
    noise = np.random.default_rng(0).integers(0, 255, (12, 10), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "photo.png")
    return folder


def test_they_are_quarantined_and_come_in_under_a_waiver(lake: Lake, source: Path) -> None:
    run = ingest(lake, source, engine="serial")
    assert run.counts == {"seen": 8, "stored": 3, "quarantined": 5}
    assert run.reasons == {"pixels_unchecked": 5}
    assert run.result["waived"] == {}
    rows = quarantine_list(lake, reason="pixels_unchecked")
    assert len(rows) == 5
    assert sum('what = "modality:US"' in row["detail"] for row in rows) == 2
    assert ingest(lake, source, engine="serial").counts == {"seen": 8, "already": 3, "quarantined": 5}
    assert len(quarantine_list(lake)) == 5

    run = ingest(lake, source, policy=ALL, engine="processes:2")
    assert run.counts == {"seen": 8, "stored": 8}
    assert run.result["waived"] == {
        "burned_in": 1,
        "modality:US": 2,
        "png": 1,
        "sop_class:SecondaryCaptureImageStorage": 1,
    }
    assert run.arguments["policy"]["waivers"][0]["reason"] == "noise, made by the test"
    assert quarantine_list(lake) == []
    again = ingest(lake, source, policy=ALL, engine="serial")
    assert (again.counts, again.result["waived"]) == ({"seen": 8, "already": 8}, {})


def test_a_laxer_policy_before_does_not_hide_what_is_held_back(lake: Lake, source: Path) -> None:
    assert ingest(lake, source, policy="none", engine="serial").counts == {"seen": 8, "stored": 8}
    assert ingest(lake, source, engine="serial").counts == {"seen": 8, "stored": 3, "quarantined": 5}
    assert len(quarantine_list(lake)) == 5


def test_a_mapping_says_what_the_header_does_not(lake: Lake, source: Path, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(source / "6.dcm")
    dataset.Modality = ""
    only = tmp_path / "only"
    only.mkdir()
    dataset.save_as(only / "unstated.dcm")
    mapping = tmp_path / "map.csv"
    mapping.write_text("path,modality\nunstated.dcm,US\n")
    assert ingest(lake, only, mapping=mapping, engine="serial").reasons == {"pixels_unchecked": 1}
    assert ingest(lake, only, engine="serial").counts == {"seen": 1, "stored": 1}


def test_own_rules_reject_objects(lake: Lake, source: Path) -> None:
    for number in (4, 6):
        path = source / f"{number}.dcm"
        dataset = pydicom.dcmread(path)
        dataset.ProtocolName = "SECRET" if number == 4 else "plain"
        dataset.save_as(path)
    run = ingest(lake, source, policy=REJECTING, engine="serial")
    assert run.counts == {"seen": 8, "stored": 1, "quarantined": 5, "rejected": 2}
    assert run.reasons == {"pixels_unchecked": 5, "policy_rejected": 2}
    details = lake.sql("select detail from items where outcome = 'rejected' order by 1").rows()
    assert ["own rule 1" in detail for (detail,) in details] == [True, False]
    assert all("SECRET" not in detail for (detail,) in details)


def test_a_lake_keeps_rules_and_waivers(new_lake: Callable[..., Lake], tmp_path: Path) -> None:
    key = new_lake().key_file
    for number, text in enumerate((ALL, REJECTING, 'name = "x"\nmax_age = "keep"\n')):
        lake = open_lake(tmp_path / f"own-{number}", key=key, policy=text)
        assert lake.policy == load_policy(text)
        assert lake.policy.digest() == load_policy(text).digest()
