"""What cohorts share: patients, identical images, images that look the same."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from voxlake.core.errors import UsageError
from voxlake.lake.checked import Checked
from voxlake.lake.cohorts import Cohort, get_cohort
from voxlake.lake.fingerprints import VERSION
from voxlake.lake.lake import Lake
from voxlake.lake.near_duplicates import nearest_elsewhere, pairs_within
from voxlake.lake.quality.perceptual_hash import NEAR, from_hexadecimal

__all__ = ["Image", "cohort_leakage", "images_of", "leakage", "near_series", "near_tokens"]

# A hash that so many images share is that of an empty slice or a template, and says nothing.
_COMMON = 32

_IMAGES = f"""
select distinct instances.series_instance_uid, instances.sop_instance_uid,
       coalesce(instances.patient_id, instances.study_instance_uid) as owner, instances.sha256,
       fingerprints.pixel_digest, fingerprints.perceptual_hash
from instances left join fingerprints
    on fingerprints.sha256 = instances.sha256 and fingerprints.version = {VERSION}
where instances.series_instance_uid in (select unnest($series))
order by 2, 4
"""


@dataclass(frozen=True)
class Image:
    """An instance as far as leakage goes.

    Parameters
    ----------
    series, instance : str
        UIDs.
    owner : str
        Patient, or study where no patient is known.
    sha256 : str
        Of the stored bytes.
    pixel_digest, perceptual_hash : str or None
        As `check` measured them; None where it did not, and for blank images.
    """

    series: str
    instance: str
    owner: str
    sha256: str
    pixel_digest: str | None
    perceptual_hash: str | None


def cohort_leakage(lake: Lake, *cohorts: str) -> Checked:
    """Say what cohorts share, for example training and test: patients, images, near-duplicates.

    Near-duplicates are known for images that `check` has measured.

    Parameters
    ----------
    lake : Lake
        The lake.
    *cohorts : str
        Two or more, ``name`` or ``name@version``.

    Returns
    -------
    Checked
        It holds if no two of them share anything; the command line exits with 1 otherwise.

    Raises
    ------
    UsageError
        Fewer than two cohorts are named.
    NotFoundError
        There is no such cohort.

    Examples
    --------
    >>> cohort_leakage(lake, "brains-train", "brains-test")  # doctest: +SKIP
    """
    if len(cohorts) < 2:
        raise UsageError("leakage is between cohorts: name two or more, for example brains-train brains-test")
    return leakage(lake, {name: get_cohort(lake, name) for name in cohorts})


def leakage(lake: Lake, parts: Mapping[str, Cohort | Sequence[str]]) -> Checked:
    """Compare parts with one another; see `cohort_leakage`.

    Parameters
    ----------
    lake : Lake
        The lake.
    parts : mapping of name to Cohort or sequence of SeriesInstanceUIDs
        What is to be kept apart.
    """
    images = {name: images_of(lake, _series(part)) for name, part in parts.items()}
    rows = [
        {"first": first, "second": second, **_shared(images[first], images[second])}
        for first, second in combinations(parts, 2)
    ]
    everything = [image for part in images.values() for image in part]
    measured = sum(image.pixel_digest is not None for image in everything)
    holds = not any(row[kind] for row in rows for kind in ("patients", "identical", "near_duplicates"))
    values = {
        "leakage": "none found" if holds else "found",
        "images": len(everything),
        "images_measured_by_check": measured,
        "pairs": rows,
    }
    return Checked(holds, values)


def images_of(lake: Lake, series: Iterable[str]) -> list[Image]:
    """Instances of series, sorted by UID."""
    return [Image(*row) for row in lake.sql(_IMAGES, {"series": sorted(series)}).rows()]


def near_series(images: Sequence[Image]) -> list[tuple[str, str]]:
    """Pairs of series of different owners that look the same.

    Two series do if at least half of the images of the shorter one have a near-duplicate in the other: one
    empty slice at the end of two scans does not make them the same.
    """
    hashed = [image for image in images if image.perceptual_hash is not None]
    counts = Counter(image.perceptual_hash for image in hashed)
    rare = [image for image in hashed if counts[image.perceptual_hash] <= _COMMON]
    if len(rare) < 2:
        return []
    owners = np.unique([image.owner for image in rare], return_inverse=True)[1].astype(np.int64)
    pairs = pairs_within(from_hexadecimal([str(one.perceptual_hash) for one in rare]), NEAR, groups=owners)
    alike: defaultdict[tuple[str, str], tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for left, right in zip(pairs.first, pairs.second, strict=True):
        one, other = sorted((rare[left], rare[right]), key=lambda image: image.series)
        ours, theirs = alike[one.series, other.series]
        ours.add(one.instance)
        theirs.add(other.instance)
    sizes = Counter(image.series for image in images)
    return sorted(
        pair
        for pair, found in alike.items()
        if 2 * min(map(len, found)) >= min(sizes[pair[0]], sizes[pair[1]])
    )


def near_tokens(lake: Lake, series: Iterable[str]) -> dict[str, list[str]]:
    """Common tokens of series that look the same, for `join_groups`; empty where `check` measured nothing."""
    tokens: defaultdict[str, list[str]] = defaultdict(list)
    if lake.tables.version("fingerprints") is not None:
        for one, other in near_series(images_of(lake, series)):
            tokens[one].append(f"near {one} {other}")
            tokens[other].append(f"near {one} {other}")
    return dict(tokens)


def _series(part: Cohort | Sequence[str]) -> list[str]:
    if isinstance(part, Cohort):
        return [member.series_instance_uid for member in part.members()]
    return list(part)


def _shared(first: Sequence[Image], second: Sequence[Image]) -> dict[str, Any]:
    owners = {one.owner for one in first} & {one.owner for one in second}
    identical = _contents(first) & _contents(second)
    copies = {one.instance for one in (*first, *second) if {one.sha256, one.pixel_digest} & identical}
    near = [one for one in _alike(first, second) if one.instance not in copies]
    there = sum(bool({one.sha256, one.pixel_digest} & identical) for one in first)
    example = min(owners, default=None) or min(copies, default=None)
    return {
        "patients": len(owners),
        "identical": there,
        "near_duplicates": len(near),
        "example": example or min((one.instance for one in near), default=None),
    }


def _contents(images: Sequence[Image]) -> set[str | None]:
    return {digest for one in images for digest in (one.sha256, one.pixel_digest) if digest is not None}


def _alike(first: Sequence[Image], second: Sequence[Image]) -> list[Image]:
    """Images of the first part that look like one of the second."""
    sides = [[one for one in part if one.perceptual_hash is not None] for part in (first, second)]
    if not all(sides):
        return []
    both = [one for side in sides for one in side]
    groups = np.repeat(np.arange(2, dtype=np.int64), [len(side) for side in sides])
    hashes = from_hexadecimal([str(one.perceptual_hash) for one in both])
    nearest, _ = nearest_elsewhere(hashes, NEAR, groups)
    return [one for one, other in zip(sides[0], nearest, strict=False) if other >= 0]
