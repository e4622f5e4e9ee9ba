"""Whether a trained network may leave the lake: what it learned from is asked, as for images.

Weights may remember what they were fitted to. So a network leaves only if every image that it was trained or
chosen on could leave by itself; see `voxlake.privacy.release`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from voxlake.core.errors import ItemError
from voxlake.learning.model import Model
from voxlake.learning.model_files import model_path
from voxlake.privacy.release import ReleaseTerms, check_release, release_facts

__all__ = ["LearnedFrom", "learned_from"]

# Nothing overrules the first; the others are overruled by a reason.
_ORDER = ("patient_withdrawn", "not_deidentified", "pixels_unchecked")

_VOLUMES = """
select {subject} as subject, unit, inputs from volumes
where plan_digest = $plan and {subject} in (select unnest($subjects))
"""
_INSTANCES = """
select instances.sha256, instances.patient_id, instances.format, instances.modality, instances.sop_class_uid,
instances.image_type, instances.burned_in_annotation, instances.pixel_offset, done.policy, done.waived
from instances left join deidentifications done on done.deidentification = instances.deidentification
where instances.sha256 in (select unnest($digests))
"""


@dataclass(frozen=True)
class LearnedFrom:
    """What the networks of a model were trained and chosen on.

    Parameters
    ----------
    folds : tuple of frozenset of str
        Volumes, or patients, of the training and validation part of each fold.
    problems : mapping
        For each of them that may not leave, why.
    units : tuple of str
        Units of the values, as the volumes have them.
    level : str
        What they are: ``"volume"`` or ``"patient"``.
    """

    folds: tuple[frozenset[str], ...] = field(repr=False)
    problems: Mapping[str, ItemError] = field(repr=False)
    units: tuple[str, ...]
    level: str

    def check(self, fold: int) -> None:
        """Refuse a network that may not leave the lake.

        Raises
        ------
        ItemError
            ``patient_withdrawn``, ``not_deidentified`` or ``pixels_unchecked``, with how many are concerned.
        """
        subjects = self.folds[fold]
        found: defaultdict[str, list[ItemError]] = defaultdict(list)
        for subject in subjects & self.problems.keys():
            found[self.problems[subject].reason].append(self.problems[subject])
        for reason in _ORDER:
            if reason in found:
                count = f"{len(found[reason])} of {len(subjects)} {self.level}s"
                raise ItemError(reason, f"{count} that it learned from: {found[reason][0].message}")


def learned_from(model: Model, terms: ReleaseTerms) -> LearnedFrom:
    """Look up what the networks of a model learned from, and whether it may leave the lake.

    Parameters
    ----------
    model : Model
        The model.
    terms : ReleaseTerms
        What a person says may leave nevertheless.
    """
    lake = model.lake
    split = json.loads(lake.objects.get(model_path(model.model_id, "split.json")))
    folds = tuple(frozenset((*fold["train"], *fold["validation"])) for fold in split["folds"])
    level = model.task.level
    subject = "coalesce(patient_id, study_instance_uid)" if level == "patient" else "volume_id"
    everyone = frozenset[str]().union(*folds)
    named = {"plan": model.row["plan_digest"], "subjects": sorted(everyone)}
    made_from: defaultdict[str, set[str]] = defaultdict(set)
    units: set[str] = set()
    for one, unit, inputs in lake.sql(_VOLUMES.format(subject=subject), named).rows():
        made_from[one].update(inputs)
        units.add(unit)
    by_digest = _problems(model, terms, frozenset[str]().union(*made_from.values()))
    problems: dict[str, ItemError] = {}
    for one in everyone:
        known = [by_digest[digest] for digest in made_from[one] if digest in by_digest]
        here = [problem for problem in known if problem is not None]
        if not known:
            problems[one] = ItemError("patient_withdrawn", "it was erased from this lake")
        elif here:
            problems[one] = min(here, key=lambda problem: _ORDER.index(problem.reason))
    return LearnedFrom(folds, problems, tuple(sorted(units)), level)


def _problems(model: Model, terms: ReleaseTerms, digests: frozenset[str]) -> dict[str, ItemError | None]:
    """For each stored object, by its digest, why it may not leave."""
    lake = model.lake
    rows = lake.sql("select patient_id from withdrawals where patient_id is not null").rows()
    withdrawn = frozenset(row[0] for row in rows)
    found: dict[str, ItemError | None] = {}
    for row in lake.sql(_INSTANCES, {"digests": sorted(digests)}).dicts():
        try:
            check_release(release_facts(row), terms, withdrawn)
        except ItemError as error:
            found[row["sha256"]] = error
        else:
            found.setdefault(row["sha256"], None)
    return found
