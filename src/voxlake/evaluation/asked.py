"""What a report was asked for, each name pinned to what it meant at the time, and its description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.evaluation.cohort_report import describe_cohort_page
from voxlake.evaluation.content import ReportData
from voxlake.evaluation.intake_section import describe_intake
from voxlake.evaluation.model_report import describe_model
from voxlake.evaluation.run_report import describe_run
from voxlake.evaluation.speaker import get_speaker
from voxlake.lake.cohorts import get_cohort
from voxlake.lake.lake import Lake

__all__ = ["Asked", "describe", "resolve"]


@dataclass(frozen=True)
class Asked:
    """Arguments of a report.

    Parameters
    ----------
    subject : str
        A model, a run or a cohort.
    cohort, gallery, against : str or None
        See `voxlake.evaluation.report.report`.
    intake, subgroups : tuple of str
        See there.
    questions : tuple of (question, SQL)
        See there.
    saliency : str
        Method, or ``""`` for none; see there.
    about : {"", "model", "run", "cohort"}
        What the subject is, once that is known.
    """

    subject: str
    cohort: str | None = None
    intake: tuple[str, ...] = ()
    gallery: str | None = None
    questions: tuple[tuple[str, str], ...] = ()
    against: str | None = None
    subgroups: tuple[str, ...] = ()
    saliency: str = ""
    about: str = ""

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options that were given."""
        names = ("cohort", "intake", "gallery", "questions", "against", "subgroups", "saliency")
        return tuple(name for name in names if getattr(self, name))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Asked:
        """What `to_dict` wrote."""
        return cls(
            subject=values["subject"],
            cohort=values["cohort"],
            intake=tuple(values["intake"]),
            gallery=values["gallery"],
            questions=tuple((question, statement) for question, statement in values["questions"]),
            against=values["against"],
            subgroups=tuple(values["subgroups"]),
            # Reports of earlier versions were not asked for it.
            saliency=values.get("saliency", ""),
            about=values["about"],
        )


def resolve(lake: Lake, asked: Asked) -> Asked:
    """Pin names: the identifier of a model, and the version of a cohort, that a name stands for now.

    Raises
    ------
    NotFoundError
        There is no such model, run or cohort.
    UsageError
        An option was given that the subject does not have.
    """
    if lake.sql("select 1 from runs where run_id = $run", {"run": asked.subject}).rows():
        pinned = replace(asked, about="run")
    else:
        pinned = _model_or_cohort(lake, asked)
    wrong = [name for name in ("cohort", "against", "subgroups", "saliency") if getattr(asked, name)]
    if wrong and pinned.about != "model":
        raise UsageError(f"a report about a {pinned.about} takes no {', '.join(wrong)}; leave it out")
    return replace(
        pinned,
        cohort=None if asked.cohort is None else _versioned(lake, asked.cohort),
        gallery=None if asked.gallery is None else _versioned(lake, asked.gallery),
        against=None if asked.against is None else get_speaker(lake, asked.against).model_id,
    )


def describe(lake: Lake, asked: Asked) -> ReportData:
    """Describe what was asked for, names being pinned."""
    shown = describe_intake(lake, asked.intake, asked.gallery, asked.questions)
    if asked.about == "run":
        return describe_run(lake, asked.subject, shown)
    if asked.about == "cohort":
        return describe_cohort_page(get_cohort(lake, asked.subject), shown)
    return describe_model(
        get_speaker(lake, asked.subject),
        None if asked.cohort is None else get_cohort(lake, asked.cohort),
        shown,
        against=None if asked.against is None else get_speaker(lake, asked.against),
        subgroups=asked.subgroups,
        saliency=asked.saliency,
    )


def _model_or_cohort(lake: Lake, asked: Asked) -> Asked:
    try:
        return replace(asked, subject=get_speaker(lake, asked.subject).model_id, about="model")
    except NotFoundError as error:
        try:
            return replace(asked, subject=_versioned(lake, asked.subject), about="cohort")
        except UsageError:
            raise NotFoundError(f"{error}; and there is no such run, cohort or study either") from None


def _versioned(lake: Lake, name: str) -> str:
    found = get_cohort(lake, name)
    return f"{found.name}@{found.version}"
