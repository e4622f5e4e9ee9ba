"""The leakage audit of a model: its parts, and what the lake knows of the patients and images in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from voxlake.evaluation.audit import Audit, Marks, audit
from voxlake.evaluation.speaker import Speaker
from voxlake.evaluation.subjects import behind
from voxlake.lake.lake import Lake
from voxlake.lake.leakage import images_of, near_series

__all__ = ["audit_model", "audit_subjects"]

_GROUPS = """
select coalesce(subject, volume_id) as subject, any_value("group") as held, any_value(patient_id) as patient
from predictions
where model_id = $model group by 1
"""


def audit_model(model: Speaker, scored: Sequence[str], *, elsewhere: bool) -> Audit | None:
    """Audit what a model was trained, chosen and scored on.

    Parameters
    ----------
    model : Speaker
        The model.
    scored : sequence of str
        Subjects that are scored.
    elsewhere : bool
        Whether the subjects are of another cohort: then they are compared with all that any fold has seen.

    Returns
    -------
    Audit or None
        None where nothing was held apart, as for clusters.
    """
    folds = [
        {part: list(subjects) for part, subjects in fold.items() if subjects}
        for fold in model.split()["folds"]
    ]
    if not folds:
        return None
    if elsewhere:
        seen = {
            subject for fold in folds for part in ("train", "validation") for subject in fold.get(part, ())
        }
        if model.is_table:
            # The final model of a table was fitted on all rows.
            seen |= {subject for fold in folds for subject in fold.get("test", ())}
        folds = [{"seen in training": sorted(seen), "scored here": list(scored)}]
    held = model.lake.sql(_GROUPS, {"model": model.model_id}).rows()
    return audit_subjects(
        model.lake,
        model.level,
        folds,
        groups={subject: group for subject, group, _ in held},
        patients={one: patient for one, _, patient in held if patient and model.level == "row"},
    )


def audit_subjects(
    lake: Lake,
    level: str,
    folds: Sequence[Mapping[str, Sequence[str]]],
    *,
    groups: Mapping[str, str] | None = None,
    patients: Mapping[str, str] | None = None,
) -> Audit:
    """Compare the parts of every fold by the patients, studies and images behind their subjects.

    Two series look the same where at least half of the images of the shorter one have a near-duplicate in
    the other; that is known of images that `check` has measured.

    Parameters
    ----------
    lake : Lake
        The lake.
    level : {"volume", "instance", "series", "study", "patient", "row"}
        What a subject is. Behind the row of an outside table stands no image: it has its group and
        patient alone.
    folds : sequence of mapping of part to subjects
        The split.
    groups : mapping of subject to group, optional
        What was to stay together.
    patients : mapping of subject to patient, optional
        Patients of rows of an outside table, which the lake knows by the predictions about them.

    Raises
    ------
    UsageError
        The level is none of these.
    """
    stored = behind(lake, level, {subject for fold in folds for part in fold.values() for subject in part})
    marks: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    series: defaultdict[str, set[str]] = defaultdict(set)
    for one in stored:
        if one.patient is not None:
            marks[one.subject]["patient"].add(one.patient)
        marks[one.subject]["study"].add(one.study)
        marks[one.subject]["identical"].add(one.sha256)
        series[one.series].add(one.subject)
    for kind, named in (("group", groups), ("patient", patients)):
        for subject, name in (named or {}).items():
            marks[subject][kind].add(name)
    used = {one.sha256 for one in stored}
    images = [image for image in images_of(lake, series) if image.sha256 in used]
    for one_series, other in near_series(images):
        for subject in series[one_series] | series[other]:
            marks[subject]["near_duplicate"].add(f"{one_series} and {other}")
    return audit(
        folds,
        _frozen(marks),
        images=len(images),
        measured=sum(one.pixel_digest is not None for one in images),
    )


def _frozen(marks: Mapping[str, Mapping[str, set[str]]]) -> dict[str, Marks]:
    return {
        subject: {kind: frozenset(found) for kind, found in kinds.items()} for subject, kinds in marks.items()
    }
