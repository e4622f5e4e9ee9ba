"""Rules about images that are the same, or look the same, and about labels that contradict each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from voxlake.lake.fingerprints import VERSION
from voxlake.lake.near_duplicates import nearest_elsewhere, pairs_within
from voxlake.lake.quality.perceptual_hash import NEAR, from_hexadecimal
from voxlake.lake.quality.pixel_rules import BLANK
from voxlake.lake.quality.rule import Found, Level, Rule, Scope, by_query

__all__ = ["LIKENESS_RULES"]

_MEASURED = """## What was measured

The usual perceptual hash of 64 bits does not work here: among 2,501 chest X-rays 94 pairs of different
images differ in 4 bits or fewer. With 256 bits:

| images | pairs | bits |
| --- | --- | --- |
| chest X-rays, copies | 8 | 0 |
| chest X-rays, different images | all others | 40 and more |
| breast ultrasound (BUSI, 320 images), one picture saved twice: annotations, crop, gain | 29 | 8 to 28 |
| breast ultrasound, similar frames of one scene | 3 | 36 to 42 |
| PET, CT, MR of 5 patients as DICOM, and the middle slice of the same as NIfTI | 15 | 0 |
| PET, CT, MR slices of different patients | none up to 32 | |

An image changed on purpose (40 X-rays and 40 ultrasound images, largest number of bits): JPEG quality 30:
10; half size: 4; half size and JPEG quality 60: 10; noise of 8 grey levels: 10; 20 grey levels brighter: 4;
contrast times 1.25 with clipping: 22; gamma 0.8: 16. What it does not stay near under: a crop of 2 % on each
side (32 to 52), flips and rotations (about 128).

Among the 320 ultrasound images one is filed as `benign` and again as `normal`, 22 bits apart: the rule
[label_conflict](label_conflict.md) names both.

The search compares only hashes that share a part (multi-index hashing) and gives the pairs that comparing
all with all would give.
"""

# A hash that so many images share is that of a template or an empty slice, and says nothing about labels.
_COMMON = 32

_IMAGES = f"""
select distinct on (sop_instance_uid) sop_instance_uid, pixel_digest, perceptual_hash, share_common,
    coalesce(patient_id, study_instance_uid) as owner
from {{instances}} as instances join fingerprints using (sha256)
where version = {VERSION} and share_common < {BLANK}
  and coalesce(modality not in ('SEG', 'RTDOSE'), true) order by sop_instance_uid
"""

_EXACT = f"""
with images as ({_IMAGES}),
alike as (
    select pixel_digest, min(sop_instance_uid) as first, max(sop_instance_uid) as last, count(*) as images,
        count(distinct owner) as owners
    from images group by 1 having count(*) > 1
)
select sop_instance_uid as subject, images as value,
    'the same pixels as ' || case when sop_instance_uid = first then last else first end
    || case when owners > 1 then ', of another patient' else ', of the same patient' end as detail
from images join alike using (pixel_digest)
"""

_LABELS = """
with ids as (
    select distinct sop_instance_uid, series_instance_uid, study_instance_uid, patient_id
    from {instances} as instances
)
"""
_CONTRADICTING = f"""{_LABELS},
subjects as (
    select distinct 'instance' as level, sop_instance_uid as subject from ids
    union all select distinct 'series', series_instance_uid from ids
    union all select distinct 'study', study_instance_uid from ids
    union all select distinct 'patient', patient_id from ids
)
select level, subject, name, count(distinct value) as values,
       string_agg(distinct value, ' and ' order by value) as said
from labels join subjects using (level, subject)
group by all having count(distinct value) > 1 order by all
"""
_LABELLED = f"""{_LABELS},
labelled as (
    select sop_instance_uid, name, value from labels join ids
        on level = 'instance' and subject = sop_instance_uid
    union select sop_instance_uid, name, value from labels join ids
        on level = 'series' and subject = series_instance_uid
    union select sop_instance_uid, name, value from labels join ids
        on level = 'study' and subject = study_instance_uid
    union select sop_instance_uid, name, value from labels join ids
        on level = 'patient' and subject = ids.patient_id
),
images as ({_IMAGES})
select sop_instance_uid, name, value, perceptual_hash, owner
from labelled join images using (sop_instance_uid)
where perceptual_hash is not null order by name, sop_instance_uid
"""


def _near(scope: Scope) -> Iterator[Found]:
    rows = [row for row in scope.rows(_IMAGES) if row["perceptual_hash"] is not None]
    if not rows:
        return
    uids = [row["sop_instance_uid"] for row in rows]
    hashes = from_hexadecimal([row["perceptual_hash"] for row in rows])
    nearest, distance = nearest_elsewhere(hashes, NEAR, _codes([row["owner"] for row in rows]))
    for place in np.flatnonzero(nearest >= 0):
        other = nearest[place]
        # The very same pixels are a finding of another rule.
        if rows[place]["pixel_digest"] != rows[other]["pixel_digest"]:
            detail = f"looks like {uids[other]}, of another patient"
            yield Found("instance", uids[place], float(distance[place]), detail)


def _label_conflicts(scope: Scope) -> Iterator[Found]:
    for row in scope.rows(_CONTRADICTING):
        level: Level = row["level"]
        yield Found(level, row["subject"], row["values"], f"{row['name']} is {row['said']}")
    if scope.lake.tables.version("fingerprints") is not None:
        yield from _look_alikes(list(scope.rows(_LABELLED)))


def _look_alikes(rows: Sequence[dict[str, Any]]) -> Iterator[Found]:
    """Images of different patients that look the same and have different labels."""
    for name in sorted({row["name"] for row in rows}):
        named = [row for row in rows if row["name"] == name]
        hashes = from_hexadecimal([row["perceptual_hash"] for row in named])
        _, inverse, counts = np.unique(hashes, axis=0, return_inverse=True, return_counts=True)
        rare = np.flatnonzero(counts[inverse.reshape(-1)] <= _COMMON)
        pairs = pairs_within(hashes[rare], NEAR, groups=_codes([named[place]["owner"] for place in rare]))
        for first, second, distance in zip(pairs.first, pairs.second, pairs.distance, strict=True):
            one, other = named[rare[first]], named[rare[second]]
            if one["value"] != other["value"]:
                yield _contradiction(one, other, float(distance))
                yield _contradiction(other, one, float(distance))


def _contradiction(one: dict[str, Any], other: dict[str, Any], distance: float) -> Found:
    uid = other["sop_instance_uid"]
    detail = f"{one['name']} is {one['value']}, but {other['value']} for {uid}, which looks the same"
    return Found("instance", one["sop_instance_uid"], distance, detail)


def _codes(texts: Iterable[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.unique(np.array(list(texts)), return_inverse=True)[1].astype(np.int64)


LIKENESS_RULES = (
    Rule(
        "exact_duplicate",
        "warning",
        "instance",
        "The same pixels twice",
        "An image that is there twice counts twice; on both sides of a split it makes a model look better "
        "than it is, and under two patients one of them is wrong.",
        "The same digest over shape, type and decoded values in objects with different SOPInstanceUIDs, "
        "whatever their headers and compression; blank images and masks are left out. The value is the "
        "number of "
        "images with these pixels.",
        "Keep one of them, or keep them in one part of the split.",
        by_query(_EXACT, "instance"),
        pixels=True,
    ),
    Rule(
        "near_duplicate",
        "warning",
        "instance",
        "Looks like an image of another patient",
        "The same exposure in another size, compression or brightness under another name leaks from training "
        "into test just as an exact copy does, and no checksum finds it.",
        f"A perceptual hash of 256 bits of the middle frame; found where at most {NEAR} bits differ from "
        "that "
        "of an image of another patient (of another study, where no patient is known) and the pixels are not "
        "the very same. For each image its nearest one is named. The value is the number of bits.",
        "Look at both. Keep true copies in one part of the split, or keep one of them.",
        _near,
        pixels=True,
        notes=_MEASURED,
    ),
    Rule(
        "label_conflict",
        "error",
        "instance",
        "Labels contradict each other",
        "A model cannot learn from an image that is both, and is scored wrong whatever it says.",
        "Two different values of one label for the same subject, whoever gave them; or different values "
        "for two "
        "images of different patients that look the same (`near_duplicate`, exact copies included). The "
        "value is the number of values, or the number of bits in which the images differ.",
        "Ask a reader. Until then leave the subject out: training does so by itself for the first kind.",
        _label_conflicts,
    ),
)
