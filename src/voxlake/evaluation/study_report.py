"""A report about the de-identification of studies: what was done to each element and why, what remains."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from voxlake.core.errors import NotFoundError
from voxlake.core.hints import hint
from voxlake.evaluation.study_facts import PolicyPart, StudyFacts, StudyFile
from voxlake.evaluation.study_summary import AS_IT_CAME, NOTHING_TO_TAKE, summarise
from voxlake.evaluation.wording import show_cell
from voxlake.lake.deidentifications import read_shapes
from voxlake.lake.lake import Lake
from voxlake.lake.policies import stored_policies
from voxlake.privacy.policy import Policy, load_policy

__all__ = [
    "StudyFacts",
    "StudyFile",
    "describe_study",
    "is_study",
    "looks_like_uid",
    "study_json",
    "study_page",
    "unknown_study",
]

_FORMAT = 1
_NEAR = 50
_UID = re.compile(r"[0-9]+(\.[0-9]+){2,}")
_ACTIONS = MappingProxyType(
    {
        "removed": ("removed", "Gone, with all that was in it."),
        "private_removed": ("private, removed", "Private elements that are not known to be safe: gone."),
        "emptied": ("emptied", "Still there, without a value."),
        "replaced": ("replaced", "Holds a dummy value or a pseudonym."),
        "uid_mapped": ("UID mapped", "A keyed UID in place of the original; the same everywhere."),
        "date_shifted": ("date shifted", "Moved back by the same number of days for all of a patient."),
        "cleaned": ("cleaned", "What it says of the patient was taken out of it."),
        "added": ("added", "Written by de-identification."),
        "metadata_stripped": ("metadata stripped", "All but what the image is read by is gone."),
        "kept": ("kept", "As it came."),
    }
)


def study_page(reports: Iterable[StudyFacts], *, created: str = "") -> str:
    """Draw the report; it needs no lake.

    Parameters
    ----------
    reports : iterable of StudyFacts
        One for each study and policy.
    created : str
        When, as it shall be printed; equal facts give equal pages without it.

    Returns
    -------
    str
        HTML 5 in one piece; no value of any element is in it.
    """
    environment = Environment(
        loader=PackageLoader("voxlake.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": show_cell, "action": _action, "kind": _kind, "tally": _tally}
    page = environment.get_template("study.html.j2")
    return page.render(
        studies=summarise(reports),
        created=created,
        made_by=f"voxlake {version('voxlake')}",
        unchanged=(AS_IT_CAME, NOTHING_TO_TAKE),
    )


def study_json(reports: Iterable[StudyFacts], *, created: str = "") -> str:
    """Write what the page says as JSON, for programs; parameters are those of `study_page`."""
    content = {
        "report": "de-identification",
        "format": _FORMAT,
        "created": created,
        "made_by": f"voxlake {version('voxlake')}",
        "studies": [asdict(study) for study in summarise(reports)],
    }
    return json.dumps(content, indent=1) + "\n"


def looks_like_uid(text: str) -> bool:
    """Whether a text has the form of a UID (PS3.5 9.1)."""
    return _UID.fullmatch(text) is not None


def is_study(lake: Lake, study: str) -> bool:
    """Whether the lake holds an instance of a study."""
    found = lake.sql("select 1 from instances where study_instance_uid = $study limit 1", {"study": study})
    return len(found) > 0


def unknown_study(lake: Lake, study: str) -> NotFoundError:
    """Make the error for a study that is not there; it does not repeat what may be an original identifier."""
    near = lake.sql(
        "select distinct study_instance_uid from instances where starts_with(study_instance_uid, $start) "
        f"or ends_with(study_instance_uid, $end) order by 1 limit {_NEAR}",
        {"start": study[:12], "end": study[-8:]},
    ).rows()
    return NotFoundError(
        "this lake has no study, run or model of that name; studies go by their identifiers in the lake, not "
        f'by the original ones{hint(study, [row[0] for row in near])}; see `voxlake sql "select distinct '
        'study_instance_uid from series"`'
    )


def describe_study(lake: Lake, study: str) -> list[StudyFacts]:
    """Gather what the report shows about a study of a lake, for each patient and policy in it.

    Raises
    ------
    IntegrityError
        The record of what was done was changed since it was written.
    """
    rows = lake.sql(
        "select patient_id, policy_digest, deidentification, sop_instance_uid, series_instance_uid, sha256, "
        'pack, "offset", length from instances where study_instance_uid = $study '
        "order by series_instance_uid, instance_number nulls last, sop_instance_uid",
        {"study": study},
    ).dicts()
    shapes = read_shapes(lake, [row["deidentification"] for row in rows if row["deidentification"]])
    policies = {shape.policy_digest: load_policy(shape.policy) for shape in shapes.values()}
    if any(row["policy_digest"] not in policies for row in rows):
        # What came in before shapes were recorded.
        policies = {**stored_policies(lake), **policies}
    files: defaultdict[tuple[str, str], list[StudyFile]] = defaultdict(list)
    for row in rows:
        files[row["policy_digest"], row["patient_id"] or ""].append(
            StudyFile(
                row["sop_instance_uid"],
                row["sha256"],
                shapes.get(row["deidentification"]),
                row["series_instance_uid"],
                row["pack"],
                row["offset"],
                row["length"],
            )
        )
    return [
        _facts(study, patient, policies[digest], those) for (digest, patient), those in sorted(files.items())
    ]


def _facts(study: str, patient: str, policy: Policy, files: list[StudyFile]) -> StudyFacts:
    return StudyFacts(study, patient or None, policy, tuple(files))


def _action(name: str) -> str:
    """Word for an action; several come with commas between them."""
    return ", ".join(_ACTIONS[one][0] if one in _ACTIONS else one for one in name.split(", "))


def _kind(name: str) -> str:
    return "NIfTI" if name == "nifti" else name.upper()


def _tally(part: PolicyPart) -> list[tuple[str, str, int]]:
    """Actions in words, with how many elements each was done to in one instance or more."""
    elements: defaultdict[str, set[Any]] = defaultdict(set)
    for row in part.done:
        elements[row.action].add(row.element)
    return [(*words, len(elements[name])) for name, words in _ACTIONS.items() if name in elements]
