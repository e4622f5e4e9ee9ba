"""The verb report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.core.run import Run
from voxlake.evaluation.cohort_report import describe_cohort_page
from voxlake.evaluation.content import Ingest, ReportData
from voxlake.evaluation.intake_section import describe_intake
from voxlake.evaluation.model_report import describe_model
from voxlake.evaluation.page import render_report
from voxlake.evaluation.run_report import describe_run
from voxlake.evaluation.study_report import (
    describe_study,
    is_study,
    looks_like_uid,
    study_json,
    study_page,
    unknown_study,
)
from voxlake.lake.cohorts import Cohort, get_cohort
from voxlake.lake.lake import Lake
from voxlake.lake.recorder import Recorder, start_run
from voxlake.learning.model import get_model

__all__ = ["report"]


def report(
    lake: Lake,
    subject: str,
    *,
    cohort: str | None = None,
    intake: Sequence[str] = (),
    gallery: str | None = None,
    questions: Sequence[tuple[str, str]] = (),
    output: str | Path | None = None,
) -> Run:
    """Write one self-contained page about a model, a run, a cohort or the de-identification of a study.

    Parameters
    ----------
    lake : Lake
        The lake.
    subject : str
        Identifier of a model, name of its task, identifier of a run, name of a cohort, or StudyInstanceUID in
        the lake.
    cohort : str, optional
        About a model: score it on this cohort, which it has predicted, instead of its own test parts.
    intake : sequence of str
        About a model: runs of ingest to show beside it.
    gallery : str, optional
        Cohort whose prepared volumes are shown as pictures.
    questions : sequence of (question, SQL)
        Put to the lake and answered on the page.
    output : path, optional
        Also write the page to this file. It always lies under ``reports/`` of the lake.

    Returns
    -------
    Run
        ``result["report"]`` is the path of the page. About a study, ``result["json"]`` is that of the same
        content as JSON.

    Raises
    ------
    NotFoundError
        There is no such model, run, cohort or study.
    UsageError
        About a study, an option was given that only the other reports have.

    Examples
    --------
    >>> report(lake, "pneumonia", output="report.html")  # doctest: +SKIP
    """
    if is_study(lake, subject):
        if cohort or intake or gallery or questions:
            raise UsageError(
                "a report about a study takes no cohort, intake, gallery or questions; leave them out"
            )
        return _about_study(lake, subject, output)
    if looks_like_uid(subject):
        # Before the run is recorded: it may be the original identifier, which must not come into the lake.
        raise unknown_study(lake, subject)
    arguments = {
        "subject": subject,
        # Whose pictures are on the page: erasing a patient looks here for the pages that must go.
        "cohort": cohort or _pictured(lake, subject),
        "intake": list(intake),
        "gallery": gallery,
    }
    with start_run(lake, "report", arguments) as recorder:
        recorder.saw()
        shown = describe_intake(lake, intake, gallery, questions)
        if lake.sql("select 1 from runs where run_id = $run", {"run": subject}).rows():
            data = describe_run(lake, subject, shown)
        else:
            data = _about_model_or_cohort(lake, subject, cohort, shown)
        _keep_page(lake, recorder, render_report(data).encode(), output)
        recorder.outcome(subject, "stored")
    return recorder.run


def _about_study(lake: Lake, study: str, output: str | Path | None) -> Run:
    with start_run(lake, "report", {"subject": study}) as recorder:
        recorder.saw()
        facts = describe_study(lake, study)
        created = recorder.started.isoformat(timespec="seconds")
        _keep_page(lake, recorder, study_page(facts, created=created).encode(), output)
        recorder.result["json"] = _keep(
            lake, recorder, "report.json", study_json(facts, created=created).encode()
        )
        recorder.outcome(study, "stored")
    return recorder.run


def _keep_page(lake: Lake, recorder: Recorder, page: bytes, output: str | Path | None) -> None:
    place = _keep(lake, recorder, "report.html", page)
    if output is not None:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        Path(output).write_bytes(page)
        place = str(Path(output))
    recorder.result |= {"report": place, "bytes": len(page)}


def _keep(lake: Lake, recorder: Recorder, name: str, data: bytes) -> str:
    """Put a file beside the others of a report; returns where it lies."""
    name = f"reports/{recorder.run_id}/{name}"
    lake.objects.put(name, data)
    return str(lake.objects.local_path(name) or name)


def _about_model_or_cohort(lake: Lake, subject: str, cohort: str | None, shown: Ingest | None) -> ReportData:
    try:
        model = get_model(lake, subject)
    except NotFoundError as error:
        found = _cohort(lake, subject)
        if found is None:
            raise NotFoundError(f"{error}; and there is no such run, cohort or study either") from None
        return describe_cohort_page(found, shown)
    return describe_model(model, None if cohort is None else get_cohort(lake, cohort), shown)


def _cohort(lake: Lake, name: str) -> Cohort | None:
    try:
        return get_cohort(lake, name)
    except (NotFoundError, UsageError):
        return None


def _pictured(lake: Lake, subject: str) -> str | None:
    """Name of the cohort that a page about a run or a cohort shows."""
    rows = lake.sql("select arguments from runs where run_id = $run", {"run": subject}).rows()
    if rows:
        name = json.loads(rows[0][0]).get("cohort")
        return name if isinstance(name, str) else None
    found = _cohort(lake, subject)
    return None if found is None else f"{found.name}@{found.version}"
