"""The report about a study of a lake: its numbers are those of de-identification, file by file."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom import dcmread

from voxlake.core.errors import IntegrityError, NotFoundError, UsageError
from voxlake.evaluation.report import report
from voxlake.evaluation.study_report import describe_study, study_json, study_page
from voxlake.lake.deidentifications import read_shapes
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake, open_lake
from voxlake.lake.rekey import keys_rekey
from voxlake.privacy.deidentify import deidentify
from voxlake.privacy.policy import load_policy
from voxlake.privacy.pseudonyms import Pseudonymiser
from voxlake.privacy.shapes import without_numbers
from voxlake.sources.phantoms import Phantoms

TOKEN = "ZQXPLANTED"
POLICY = """
name = "trial"
options = ["clean_descriptors", "retain_longitudinal_modified_dates", "retain_patient_characteristics"]

[[rules]]
tag = "(0020,4000)"
action = "remove"
why = "comments are free text"

[[rules]]
keyword = "ProtocolName"
action = "keep"

[[waivers]]
what = "png"
reason = "drawn by this test, nobody is on it"
"""
TWO = Phantoms(patients=2, slices=8, rows=16, columns=16, second_study=0.0)
SMALL = Phantoms(patients=1, slices=8, rows=16, columns=16, second_study=0.0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / TOKEN
    folder.mkdir()
    for number, item in enumerate(TWO):
        dataset = dcmread(BytesIO(item.read(2**30)))
        dataset.PatientName = f"{TOKEN}^{number}"
        dataset.StudyComments = f"seen by {TOKEN}"
        if number == 1:
            dataset.InstitutionAddress = f"{TOKEN} street"
        dataset.save_as(folder / f"{number}.dcm")
    notes = PngInfo()
    notes.add_text("Author", TOKEN)
    Image.new("L", (8, 8), 7).save(folder / "one.png", pnginfo=notes)
    return folder


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    return file


def studies(lake: Lake, kind: str = "dicom") -> list[str]:
    found = lake.sql(
        "select distinct study_instance_uid from instances where format = $kind order by 1", {"kind": kind}
    )
    return [row[0] for row in found.rows()]


def read(run) -> dict:
    return json.loads(Path(run.result["json"]).read_text())


@pytest.mark.parametrize("engine", ["serial", "processes:2"])
def test_the_numbers_are_those_of_every_single_file(lake: Lake, source: Path, policy: Path, engine: str):
    assert ingest(lake, source, policy=policy, engine=engine).counts["stored"] == 17
    names, rules = Pseudonymiser(lake.key), load_policy(policy)
    done, remains, digests = Counter(), Counter(), {}
    for path in source.glob("*.dcm"):
        clean = deidentify(path.read_bytes(), rules, names)
        study = str(clean.dataset.StudyInstanceUID)
        done.update({(study, without_numbers(one.path), *one[1:]) for one in clean.report})
        remains.update((study, *element) for element in clean.remains().items())
        digests[study, str(clean.dataset.SOPInstanceUID)] = sha256(clean.data).hexdigest()
    counted, left, listed = Counter(), Counter(), {}
    for study in studies(lake):
        run = report(lake, study)
        assert (run.counts["seen"], run.counts["stored"]) == (1, 1)
        (found,) = read(run)["studies"]
        (part,) = found["parts"]
        assert (found["study"], found["instances"], found["series"]) == (study, 8, 1)
        assert (part["digest"], part["editions"], part["unrecorded"]) == (rules.digest(), ["2026d"], 0)
        for row in part["done"]:
            why = re.sub(r"^(own rule \d+):.*", r"\1", row["why"])
            counted[study, row["element"], row["keyword"], row["action"], why] += row["instances"]
        for row in part["remains"]:
            left[study, row["element"], row["keyword"]] += row["instances"]
        listed |= {(study, row["name"]): row["sha256"] for row in found["files"]}
        own = "own rule 1: comments are free text"
        assert [row["instances"] for row in part["done"] if row["why"] == own] == [8]
        assert [rule["instances"] for rule in part["rules"]] == [8, 8]
    assert counted == done
    assert left == remains
    assert listed == digests


def test_no_value_of_a_source_is_in_any_report(lake: Lake, source: Path, policy: Path):
    ingest(lake, source, policy=policy, engine="serial")
    for study in [*studies(lake), *studies(lake, "png")]:
        run = report(lake, study)
        for name in ("report", "json"):
            text = Path(run.result[name]).read_text()
            assert study in text
            assert TOKEN not in text
            assert "PHANTOM-" not in text
            assert "Synthetic Hospital" not in text


def test_each_shape_is_stored_once_and_only_if_an_object_has_it(
    lake: Lake, source: Path, policy: Path, tmp_path: Path
):
    ingest(lake, source, policy=policy, engine="serial")
    ingest(lake, source, policy="research", engine="serial")
    ingest(lake, source, policy=policy, engine="serial")
    named = lake.sql("select distinct deidentification from instances order by 1").rows()
    rows = lake.sql("select deidentification, waived, code_version from deidentifications order by 1").rows()
    assert [row[:1] for row in rows] == named
    # Two kinds of slices and the picture, under each policy; research has no waiver for the picture.
    assert len(rows) == 3 + 2
    assert [waived for _, waived, _ in rows if waived] == [["png"]]
    files = lake.tables.files("deidentifications")
    assert sum(lake.sql("select count(*) from deidentifications").rows()[0]) == len(rows)
    assert len(files) == 2


def test_a_study_under_two_policies_has_a_part_for_each(lake: Lake, policy: Path):
    ingest(lake, SMALL, policy=policy, engine="serial")
    ingest(lake, SMALL, policy="none", engine="serial")
    ingest(lake, SMALL, policy="basic", engine="serial")
    pseudonymised = sorted(uid for uid in studies(lake) if len(describe_study(lake, uid)) == 2)
    assert len(pseudonymised) == 1
    facts = describe_study(lake, pseudonymised[0])
    assert {one.policy.name for one in facts} == {"trial", "basic"}
    page = study_page(facts)
    assert "What was done under policy basic" in page
    assert "What was done under policy trial" in page
    original = next(uid for uid in studies(lake) if uid not in pseudonymised)
    assert "Not de-identified." in study_page(describe_study(lake, original))


def test_the_command_on_the_page_gives_the_digest(lake: Lake, policy: Path):
    ingest(lake, SMALL, policy=policy, engine="serial")
    page = study_page(describe_study(lake, studies(lake)[0]))
    command = re.search(r"tail -c [^<]*sha256sum", page)
    assert command is not None
    shown = subprocess.run(command[0], shell=True, cwd=lake.url, capture_output=True, text=True, check=True)
    assert shown.stdout.split()[0] in page
    assert len(shown.stdout.split()[0]) == 64


def test_an_identifier_that_is_not_there_is_neither_repeated_nor_recorded(lake: Lake, policy: Path):
    ingest(lake, SMALL, policy=policy, engine="serial")
    known = studies(lake)[0]
    before = lake.sql("select count(*) from runs").rows()
    with pytest.raises(NotFoundError, match=f"did you mean '{re.escape(known)}'"):
        report(lake, known[:-1] + ("1" if known[-1] != "1" else "2"))
    with pytest.raises(NotFoundError, match="not by the original ones") as caught:
        report(lake, "1.2.840.4711.99")
    assert "4711" not in str(caught.value)
    assert lake.sql("select count(*) from runs").rows() == before
    with pytest.raises(UsageError, match="takes no cohort"):
        report(lake, known, cohort="all")


def test_what_somebody_changed_in_the_record_is_noticed(
    lake: Lake, policy: Path, monkeypatch: pytest.MonkeyPatch
):
    ingest(lake, SMALL, policy=policy, engine="serial")
    (row,) = lake.sql("select * from deidentifications").dicts()
    forged = row | {"deidentification": "0" * 64, "actions": "[]"}
    lake.tables.append("deidentifications", [forged])
    with pytest.raises(IntegrityError, match="was changed"):
        read_shapes(lake, ["0" * 64])
    with pytest.raises(NotFoundError, match="taken out"):
        read_shapes(lake, ["1" * 64])


def test_what_came_in_before_shapes_were_kept_is_said_to_be_unrecorded(lake: Lake, policy: Path):
    ingest(lake, SMALL, policy=policy, engine="serial")
    row = lake.sql("select * from instances order by sop_instance_uid limit 1").dicts()[0]
    study = "2.25.77"
    old = {"source_mac": "0" * 64, "deidentification": None, "study_instance_uid": study}
    lake.tables.append("instances", [row | old])
    (facts,) = describe_study(lake, study)
    assert facts.policy.name == "trial"
    assert json.loads(study_json([facts]))["studies"][0]["parts"][0]["unrecorded"] == 1


def test_a_rekeyed_lake_can_report_too(
    new_lake: Callable[..., Lake], source: Path, policy: Path, tmp_path: Path
):
    old = new_lake("old")
    ingest(old, source, policy=policy, engine="serial")
    keys_rekey(old, tmp_path / "new", new_key=tmp_path / "new-key", engine="serial", progress=False)
    new = open_lake(tmp_path / "new", key=tmp_path / "new-key")
    assert not set(studies(new)) & set(studies(old))
    for study in studies(new):
        (part,) = json.loads(study_json(describe_study(new, study)))["studies"][0]["parts"]
        assert (part["unrecorded"], part["instances"]) == (0, 8)
