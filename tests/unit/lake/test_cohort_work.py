"""Cohorts can be compared, split, checked against one another, and shared by a manifest."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from voxlake.core.errors import AlreadyExistsError, IntegrityError, NotFoundError, SettingsError, UsageError
from voxlake.lake.cohort_diff import cohort_diff
from voxlake.lake.cohort_split import cohort_split
from voxlake.lake.cohorts import get_cohort, select
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake, open_lake
from voxlake.lake.leakage import cohort_leakage, images_of, near_series
from voxlake.lake.manifest import cohort_export, read_manifest, tree_root
from voxlake.lake.manifest_check import cohort_verify
from voxlake.lake.quality.perceptual_hash import to_hexadecimal
from voxlake.sources.phantoms import Phantoms
from voxlake.store.packs import read_member

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("cohort-work")

PHANTOMS = Phantoms(patients=12, slices=8, rows=16, columns=16, second_study=0.0)


@pytest.fixture
def filled(lake_template: Callable[[int], Path], lake_copy: Callable[[Path], Lake]) -> Lake:
    """A lake with twelve patients, half of them with a nodule."""
    return lake_copy(lake_template(12))


def series(lake: Lake) -> list[str]:
    return [row[0] for row in lake.sql("select series_instance_uid from series order by 1").rows()]


def test_two_versions_are_compared(filled: Lake) -> None:
    uids = series(filled)
    select(filled, "some", f"series_instance_uid <= '{uids[5]}'")
    with pytest.raises(UsageError, match="one version"):
        cohort_diff(filled, "some")
    select(filled, "some", f"series_instance_uid > '{uids[1]}' and series_instance_uid <= '{uids[6]}'")
    found = cohort_diff(filled, "some")
    assert (found["before"], found["after"], found["same"]) == ("some@1", "some@2", False)
    assert [row["series_instance_uid"] for row in found["added"]] == [uids[6]]
    assert [row["series_instance_uid"] for row in found["removed"]] == uids[:2]
    assert found["changed"] == []
    assert found["counts"][0] == {
        "level": "series", "before": 6, "after": 5, "added": 1, "removed": 2, "changed": 0
    }  # fmt: skip
    assert found["counts"][2]["level"] == "patients"
    assert found["condition"]["after"].startswith("series_instance_uid > ")
    assert cohort_diff(filled, "all", "all")["same"]


def test_other_content_is_a_change(filled: Lake) -> None:
    uid = series(filled)[0]
    row = filled.sql("select * from series where series_instance_uid = $u", {"u": uid}).dicts()[0]
    filled.tables.append("series", [{**row, "members_digest": "0" * 64, "committed_at": None}])
    select(filled, "all")
    found = cohort_diff(filled, "all")
    assert [(one["series_instance_uid"], one["after"]) for one in found["changed"]] == [(uid, "0" * 64)]
    assert found["changed"][0]["before"] == row["members_digest"]
    run = cohort_split(filled, "all@1", parts="a=0.5,b=0.5")
    assert run.reasons == {"cohort_changed": 1}


def test_a_split_is_even_and_has_no_leak(filled: Lake) -> None:
    run = cohort_split(filled, "all", parts="train=0.5,test=0.5", stratify="nodule,modality", seed=3)
    assert run.result["cohorts"] == ["all-train@1", "all-test@1"]
    train, test = get_cohort(filled, "all-train"), get_cohort(filled, "all-test")
    assert (train.patients, test.patients) == (6, 6)
    present = next(row for row in run.result["table"] if row["value"] == "present")
    assert present == {"variable": "nodule", "value": "present", "train": 3, "test": 3}
    assert run.result["largest_deviation"] == 0.0
    assert cohort_leakage(filled, "all-train", "all-test").holds
    again = cohort_split(filled, "all", parts="train=0.5,test=0.5", stratify="nodule,modality", seed=3)
    assert again.counts == {"seen": 12, "already": 12}
    other = cohort_split(filled, "all", parts="train=0.5,test=0.5", stratify="nodule,modality", seed=4)
    assert other.result["cohorts"] == ["all-train@2", "all-test@2"]


def test_balancing_leaves_out_the_larger_class(filled: Lake) -> None:
    absent = filled.sql(
        "select distinct series_instance_uid from instances join labels on subject = sop_instance_uid "
        "where value = 'absent' order by 1"
    ).rows()
    gone = ", ".join(f"'{row[0]}'" for row in absent[:3])
    select(filled, "odd", f"series_instance_uid not in ({gone})")
    run = cohort_split(filled, "odd", parts="a=1", balance="nodule")
    assert run.counts == {"seen": 9, "stored": 6, "ignored": 3}
    assert run.reasons == {"left_out_to_balance": 3}
    assert {row["value"]: row["a"] for row in run.result["table"][2:]} == {"absent": 3, "present": 3}


def test_split_mistakes(filled: Lake) -> None:
    with pytest.raises(UsageError, match="add up to"):
        cohort_split(filled, "all", parts="a=0.5,b=0.6")
    with pytest.raises(UsageError, match="write for example"):
        cohort_split(filled, "all", parts="a,b")
    with pytest.raises(UsageError, match="did you mean 'nodule'"):
        cohort_split(filled, "all", stratify="nodul")
    with pytest.raises(UsageError, match="cannot name a cohort"):
        cohort_split(filled, "all", parts="a b=1")


def looks_alike(lake: Lake, pairs: list[tuple[str, str]]) -> None:
    """Fingerprints that say so: the images of each pair of series differ in one bit, all others in many."""
    digits = np.random.default_rng(0)
    words = {uid: digits.integers(0, 2**63, (4,), np.uint64) for uid in series(lake)}
    for one, other in pairs:
        words[other] = words[one] ^ np.array([2, 0, 0, 0], np.uint64)
    rows = lake.sql("select series_instance_uid, sha256 from instances").rows()
    lake.tables.append(
        "fingerprints",
        [
            {
                "sha256": digest,
                "version": 1,
                "pixel_digest": digest,
                "perceptual_hash": to_hexadecimal(words[uid]),
                "share_common": 0.0,
            }
            for uid, digest in rows
        ],
    )


def test_near_duplicates_stay_together_and_are_found(filled: Lake) -> None:
    uids = series(filled)
    pairs = [(uids[0], uids[1]), (uids[2], uids[3]), (uids[4], uids[5])]
    looks_alike(filled, pairs)
    assert near_series(images_of(filled, uids)) == pairs
    for seed in range(3):
        run = cohort_split(filled, "all", parts="a=0.5,b=0.5", seed=seed)
        assert run.result["leakage"][0]["near_duplicates"] == 0
    select(filled, "one", f"series_instance_uid in ('{uids[0]}', '{uids[2]}')")
    select(filled, "two", f"series_instance_uid in ('{uids[1]}', '{uids[6]}')")
    found = cohort_leakage(filled, "one", "two")
    assert not found.holds
    (row,) = found.values["pairs"]
    assert (row["patients"], row["identical"], row["near_duplicates"]) == (0, 0, 8)


def test_leakage_by_patient_and_content(filled: Lake) -> None:
    uids = series(filled)
    select(filled, "one", f"series_instance_uid in ('{uids[0]}', '{uids[1]}')")
    select(filled, "two", f"series_instance_uid in ('{uids[1]}', '{uids[2]}')")
    select(filled, "three", f"series_instance_uid = '{uids[5]}'")
    found = cohort_leakage(filled, "one", "two", "three")
    assert not found.holds
    assert [(row["patients"], row["identical"]) for row in found.values["pairs"]] == [(1, 8), (0, 0), (0, 0)]
    assert cohort_leakage(filled, "one", "three").holds
    with pytest.raises(UsageError, match="two or more"):
        cohort_leakage(filled, "one")


def test_a_manifest_is_verified_elsewhere(filled: Lake, tmp_path: Path) -> None:
    file = tmp_path / "all.manifest"
    run = cohort_export(get_cohort(filled, "all"), file)
    assert (run.result["series"], run.result["instances"]) == (12, 96)
    with pytest.raises(AlreadyExistsError):
        cohort_export(get_cohort(filled, "all"), file)
    manifest = read_manifest(file)
    assert manifest.head["policy_digests"] == [
        row[0] for row in filled.sql("select distinct policy_digest from series").rows()
    ]
    assert not any(row[0] in file.read_text() for row in filled.sql("select patient_id from patients").rows())
    folder = tmp_path / "received"
    folder.mkdir()
    rows = filled.sql('select sop_instance_uid, pack, "offset", length from instances order by 1').rows()
    for uid, pack, offset, length in rows:
        (folder / f"{uid}.dcm").write_bytes(read_member(filled.objects, pack, offset, length))
    found = cohort_verify(file, folder, key=filled.key_file)
    assert found.holds
    assert (found.values["present"], found.values["signature"]) == (96, "right")
    (folder / f"{rows[0][0]}.dcm").write_bytes(b"other")
    (folder / f"{rows[1][0]}.dcm").unlink()
    (folder / "more.dcm").write_bytes(b"more")
    found = cohort_verify(file, folder, key=filled.key_file)
    assert not found.holds
    assert [found.values[name] for name in ("present", "changed", "missing", "extra")] == [94, 1, 1, 1]
    assert {(row["state"], row["what"]) for row in found.values["differences"]} == {
        ("changed", rows[0][0]),
        ("missing", rows[1][0]),
        ("extra", "more.dcm"),
    }


def test_a_manifest_against_lakes(filled: Lake, tmp_path: Path) -> None:
    file = tmp_path / "all.manifest"
    cohort_export(get_cohort(filled, "all"), file)
    root = filled.objects.local_path("")
    assert root is not None
    assert cohort_verify(file, root, read_bytes=True, key=filled.key_file).holds
    half = open_lake(tmp_path / "half", key=filled.key_file)
    ingest(half, PHANTOMS, engine="serial")
    assert cohort_verify(file, tmp_path / "half").values["present"] == 96
    pack = filled.sql("select pack from instances order by 1 limit 1").rows()[0][0]
    filled.objects.put(pack, b"\0" * filled.objects.size(pack))
    found = cohort_verify(file, root, read_bytes=True)
    assert not found.holds
    assert found.values["changed"] == 8


def test_a_changed_manifest_is_refused(filled: Lake, tmp_path: Path) -> None:
    file = tmp_path / "all.manifest"
    cohort_export(get_cohort(filled, "all"), file)
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:3], *lines[4:]]) + "\n")
    with pytest.raises(IntegrityError, match="not as it was written"):
        cohort_verify(file, tmp_path)
    seal = json.loads(lines[-1])
    file.write_text("\n".join([*lines[:-1], json.dumps({**seal, "signature": "00"})]) + "\n")
    (tmp_path / "empty").mkdir()
    assert cohort_verify(file, tmp_path / "empty", key=filled.key_file).values["signature"] == "wrong"
    file.write_text("no manifest")
    with pytest.raises(SettingsError, match="no manifest"):
        cohort_verify(file, tmp_path)
    with pytest.raises(NotFoundError):
        cohort_verify(tmp_path / "none", tmp_path)


def test_the_tree_is_that_of_the_rfc() -> None:
    def root(leaves: list[bytes]) -> bytes:
        if len(leaves) == 1:
            return sha256(b"\0" + leaves[0]).digest()
        half = 1 << ((len(leaves) - 1).bit_length() - 1)
        return sha256(b"\1" + root(leaves[:half]) + root(leaves[half:])).digest()

    for count in range(1, 20):
        leaves = [bytes([number]) * number for number in range(count)]
        assert tree_root(leaves) == root(leaves)
