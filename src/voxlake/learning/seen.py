"""What a model has seen before: patients, images, and images that look the same."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from voxlake.lake.lake import Lake
from voxlake.lake.leakage import images_of, near_series
from voxlake.learning.mined import MinedModel
from voxlake.learning.model_files import model_path
from voxlake.learning.tables.table import FeatureTable

__all__ = ["parts_of", "parts_of_network"]

_SERIES = """
select distinct sha256, series_instance_uid from instances where sha256 in (select unnest($digests))
"""


def parts_of(model: MinedModel, rows: FeatureTable, places: Sequence[int]) -> list[str]:
    """``seen`` where a patient, row or image was among those that the model was fitted on, or looks like one.

    Parameters
    ----------
    model : MinedModel
        Who speaks.
    rows : FeatureTable
        Rows of which it speaks.
    places : sequence of int
        Positions of the rows in question.

    Returns
    -------
    list of {"seen", "new"}
        One for each position. Images that look the same are known where `check` has measured them.
    """
    described = json.loads(model.get("table.json"))
    subjects, groups = set(described["subjects"]), set(described["subject_groups"])
    contents = {one for made_from in described["contents"] for one in made_from}
    known_patients = described["grouped_by"] != "row"
    alike = _look_alike(model.lake, contents, [rows.contents[place] for place in places])
    return [
        "seen"
        if like
        or rows.subjects[place] in subjects
        or (known_patients and not groups.isdisjoint({rows.groups[place], rows.patients[place]}))
        or not contents.isdisjoint(rows.contents[place])
        else "new"
        for place, like in zip(places, alike, strict=True)
    ]


def parts_of_network(
    lake: Lake, model_id: str, level: str, asked: Sequence[tuple[AbstractSet[str], Sequence[str]]]
) -> list[str]:
    """``seen`` where any network of a model was trained or chosen on a patient, an image, or one like it.

    Parameters
    ----------
    lake : Lake
        Where the model lies.
    model_id : str
        Who speaks.
    level : {"volume", "patient"}
        What one sample of its task is.
    asked : sequence of (set of str, sequence of str)
        Patients (or studies where none is known) and digests of the stored bytes of each subject.

    Returns
    -------
    list of {"seen", "new"}
        One for each subject. Images that look the same are known where `check` has measured them.
    """
    groups, contents = _learned_from(lake, model_id, level)
    alike = _look_alike(lake, contents, [made_from for _, made_from in asked])
    return [
        "seen" if like or not groups.isdisjoint(mine) or not contents.isdisjoint(made_from) else "new"
        for (mine, made_from), like in zip(asked, alike, strict=True)
    ]


def _learned_from(lake: Lake, model_id: str, level: str) -> tuple[set[str], set[str]]:
    """Patients and stored bytes that any network of a model was trained or chosen on."""
    split = json.loads(lake.objects.get(model_path(model_id, "split.json")))
    subjects = sorted(
        {subject for fold in split["folds"] for part in ("train", "validation") for subject in fold[part]}
    )
    column = "coalesce(patient_id, study_instance_uid)" if level == "patient" else "volume_id"
    rows = lake.sql(
        "select patient_id, study_instance_uid, inputs from volumes "
        f"where {column} in (select unnest($subjects))",
        {"subjects": subjects},
    ).rows()
    groups = {str(study if patient is None else patient) for patient, study, _ in rows}
    return groups, {digest for _, _, inputs in rows for digest in inputs}


def _look_alike(lake: Lake, known: Iterable[str], asked: Sequence[Sequence[str]]) -> list[bool]:
    """Whether what each was made from is of a series that looks like one of those that are known."""
    if not asked or lake.tables.version("fingerprints") is None:
        return [False] * len(asked)
    digests = {*known, *(digest for made_from in asked for digest in made_from)}
    series: defaultdict[str, set[str]] = defaultdict(set)
    for digest, uid in lake.sql(_SERIES, {"digests": sorted(digests)}).rows():
        series[digest].add(uid)
    seen = {uid for digest in known for uid in series.get(digest, ())}
    close: set[str] = set()
    for pair in near_series(images_of(lake, {uid for found in series.values() for uid in found})):
        if not seen.isdisjoint(pair):
            close.update(pair)
    return [any(uid in close for digest in one for uid in series.get(digest, ())) for one in asked]
