"""The perceptual hash, the fingerprint, the words for body parts, and the pages of the rules."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from voxlake.lake.check import check
from voxlake.lake.fingerprints import fingerprint
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake
from voxlake.lake.quality.body_parts import contradicts, regions
from voxlake.lake.quality.perceptual_hash import NEAR, from_hexadecimal, perceptual_hash, to_hexadecimal
from voxlake.lake.quality.registry import RULES

ROOT = Path(__file__).parents[3]
MAPPING = """
label_name = "finding"
unmatched = "ignore"

[[rules]]
pattern = '(?:^|/)(?P<label>benign|malignant|normal)/[^/]+[.]png$'
modality = "US"
body_part = "BREAST"
"""


def picture(seed: int, side: int = 160) -> np.ndarray:
    """A smooth random picture, 0 to 255."""
    smooth = gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), side / 20)
    return np.clip(128 + 110 * smooth / np.abs(smooth).max(), 0, 255)


def bits(one: np.ndarray, other: np.ndarray) -> int:
    """How many bits two images differ in."""
    first, second = perceptual_hash(one), perceptual_hash(other)
    assert first is not None
    assert second is not None
    return int(np.bitwise_count(first ^ second).sum())


def saved(values: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(buffer, "jpeg", quality=quality)
    return np.asarray(Image.open(buffer))


@pytest.mark.parametrize("seed", range(5))
def test_an_image_stays_near_itself(seed: int) -> None:
    whole = picture(seed)
    small = np.asarray(Image.fromarray(whole.astype(np.uint8)).resize((57, 71), Image.Resampling.BOX))
    noisy = whole + np.random.default_rng(seed).normal(0, 6, whole.shape)
    for changed in (small, saved(whole, 40), noisy, whole * 0.8 + 30, whole.astype(np.int16) * 16 - 1000):
        assert bits(whole, changed) <= NEAR
    assert bits(whole, picture(seed + 100)) > 2 * NEAR
    assert bits(whole, whole[::-1]) > 2 * NEAR


def test_the_hash_of_a_known_pattern() -> None:
    rows = np.cos(np.pi * 3 * (np.arange(64) + 0.5) / 64)
    words = perceptual_hash(np.repeat(rows[:, None], 64, axis=1))
    assert words is not None
    # Coefficient (3, 0) stands out: bit 48 of the first word; the mean is bit 0, which is always 0.
    assert int(words[0]) >> 48 & 1 == 1
    assert int(words[0]) & 1 == 0
    assert (from_hexadecimal([to_hexadecimal(words)] * 2) == words).all()


def test_without_structure_there_is_no_hash() -> None:
    assert perceptual_hash(np.full((20, 30), 7)) is None
    assert perceptual_hash(np.full((20, 30), np.nan)) is None
    assert fingerprint(np.zeros((1, 8, 8), np.uint8))["perceptual_hash"] is None


def test_a_fingerprint_leaves_padding_out() -> None:
    values = np.arange(100, dtype=np.int16).reshape(1, 10, 10)
    values[0, 0] = -2000
    row = fingerprint(values, (-2000, -1900))
    assert (row["minimum"], row["maximum"], row["mean"]) == (10, 99, 54.5)
    assert (row["share_padding"], row["share_common"]) == (pytest.approx(0.1), pytest.approx(1 / 90))
    assert row["share_high"] == row["share_low"] == pytest.approx(1 / 90)
    nothing = fingerprint(np.full((1, 4, 4), -2000, np.int16), (-2000, -2000))
    assert (nothing["minimum"], nothing["share_padding"]) == (None, 1)


def test_a_fingerprint_is_that_of_the_image_as_it_is_seen() -> None:
    values = picture(3)[None].astype(np.uint8)
    plain, inverted = fingerprint(values), fingerprint(255 - values, inverted=True)
    assert plain["perceptual_hash"] == inverted["perceptual_hash"]
    assert plain["pixel_digest"] != inverted["pixel_digest"]
    assert (
        fingerprint(np.repeat(values[..., None], 3, axis=-1))["perceptual_hash"] == plain["perceptual_hash"]
    )
    assert fingerprint(values.astype(np.uint16))["pixel_digest"] != plain["pixel_digest"]


def test_words_for_body_parts() -> None:
    assert regions("T1 BRAIN ax") == {"head"}
    assert regions("hippocampus") == {"head"}
    assert contradicts("CHEST", ["KNEE left", None]) == ["limb"]
    assert contradicts("CHEST", ["Thorax", "knee"]) == []
    assert contradicts("CSPINE", ["Neck soft tissue"]) == []
    assert contradicts("WHOLEBODY", ["Head"]) == []
    assert contradicts("CHEST", ["routine"]) == []
    assert contradicts("HAND", [], view="MLO") == ["breast"]


def test_the_pages_of_the_rules_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("make_findings", ROOT / "scripts" / "make_findings.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.main(["--check"]) == 0, "run `python scripts/make_findings.py`"
    assert all((ROOT / "docs" / rule.page).is_file() for rule in RULES.values())


@pytest.mark.realdata
def test_the_ultrasound_image_that_is_filed_twice(
    lake: Lake, realdata: Path, tmp_path: Path, waived: str
) -> None:
    source = tmp_path / "in"
    names = ["benign (437)", "normal (34)", "benign (210)", "benign (298)", "malignant (11)", "normal (73)"]
    for name in names:
        kind = name.split()[0]
        (source / kind).mkdir(parents=True, exist_ok=True)
        data = (realdata / "breast_ultrasound_busi" / kind / f"{name}.png").read_bytes()
        (source / kind / f"{name}.png").write_bytes(data)
    (tmp_path / "mapping.toml").write_text(MAPPING)
    (tmp_path / "policy.toml").write_text(waived)
    ingest(lake, source, mapping=tmp_path / "mapping.toml", policy=tmp_path / "policy.toml", engine="serial")
    check(lake, engine="serial")
    found = lake.sql(
        "select rule, count(*), max(findings.value), list(distinct labels.value order by labels.value) "
        "from findings join labels using (subject) where rule in ('near_duplicate', 'label_conflict') "
        "group by 1 order by 1"
    ).rows()
    assert found == [
        ("label_conflict", 2, 22.0, ["benign", "normal"]),
        ("near_duplicate", 4, 22.0, ["benign", "normal"]),
    ]


@pytest.mark.realdata
@pytest.mark.slow
def test_all_ultrasound_and_x_ray_images(lake: Lake, realdata: Path, tmp_path: Path, waived: str) -> None:
    (tmp_path / "mapping.toml").write_text(MAPPING)
    (tmp_path / "policy.toml").write_text(waived)
    policy = tmp_path / "policy.toml"
    ultrasound, xrays = realdata / "breast_ultrasound_busi", realdata / "chest_xray_pneumonia"
    ingest(lake, ultrasound, mapping=tmp_path / "mapping.toml", policy=policy)
    chest = ROOT / "src/voxlake/learning/recipes/chest_xray/mapping.toml"
    ingest(lake, xrays, mapping=chest, policy=policy)
    run = check(lake)
    assert run.counts == {"seen": 2814, "stored": 2814}
    found = {line["rule"]: line["found"] for line in run.result["findings"]}
    assert found == {"label_conflict": 2, "near_duplicate": 52, "image_clipped": 2}
    kinds = lake.sql("select distinct modality from series_findings join series using (series_instance_uid) "
                     "where rule = 'near_duplicate'").rows()  # fmt: skip
    assert kinds == [("US",)], "different chest X-rays are never taken for one"


@pytest.mark.realdata
def test_the_headers_of_the_nih_x_rays(lake: Lake, realdata: Path) -> None:
    ingest(lake, realdata / "cxr_dicom_nih", policy="none", engine="serial")
    check(lake, engine="serial")
    found = lake.sql("select rule, count(*), max(value) from findings group by 1 order by 1").rows()
    assert found == [
        ("patient_age_malformed", 3, 81.0),
        ("patient_position_wrong", 3, 1.0),
        ("secondary_capture", 3, 1.0),
    ]
