"""The verb report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.core.run import Run
from voxlake.evaluation.asked import Asked, describe, resolve
from voxlake.evaluation.page import render_report
from voxlake.evaluation.rebuild import earlier, figures_file, kept_figures
from voxlake.evaluation.record import differences, figures_digest, figures_of
from voxlake.evaluation.saliency import SaliencyMethod
from voxlake.evaluation.study_report import (
    describe_study,
    is_study,
    looks_like_uid,
    study_json,
    study_page,
    unknown_study,
)
from voxlake.lake.cohorts import get_cohort
from voxlake.lake.lake import Lake
from voxlake.lake.recorder import Recorder, start_run

__all__ = ["report"]

_SHOWN = 50


def report(  # noqa: PLR0913 - each option of the command is a parameter
    lake: Lake,
    subject: str,
    *,
    cohort: str | None = None,
    intake: Sequence[str] = (),
    gallery: str | None = None,
    questions: Sequence[tuple[str, str]] = (),
    output: str | Path | None = None,
    against: str | None = None,
    subgroups: Sequence[str] = (),
    saliency: SaliencyMethod = "none",
    rebuild: bool = False,
) -> Run:
    """Write one self-contained page about a model, a run, a cohort or the de-identification of a study.

    A report about a model first compares the parts of its split: a patient, study or image on two sides stops
    it. Beside each page lies ``figures.json`` with everything that the page says.

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
    against : str, optional
        About a model: another model to compare it with, on what both have scored.
    subgroups : sequence of str
        About a model: columns of ``series``, or labels, beside sex, age, manufacturer and modality.
    saliency : {"none", "grad-cam", "occlusion", "integrated-gradients"}
        About a network that takes images: show what its answers about some of them rest on, and whether such
        maps can be believed.
    rebuild : bool
        The subject is the run of an earlier report: make it again, as it was asked for then, and say whether
        its figures are the same.

    Returns
    -------
    Run
        ``result["report"]`` is the path of the page, ``result["figures"]`` the digest of what it says.
        About a study, ``result["json"]`` is that of the same content as JSON. Of a report that was rebuilt,
        ``result["same"]`` says whether all figures are, and ``result["differences"]`` which are not.

    Raises
    ------
    NotFoundError
        There is no such model, run, cohort or study, or no figures of the report to be rebuilt.
    LeakageError
        A patient, study, group or image stands in two parts of the model's split.
    UsageError
        An option was given that only other reports have.

    Examples
    --------
    >>> report(lake, "pneumonia", output="report.html")  # doctest: +SKIP
    """
    asked = Asked(
        subject=subject,
        cohort=cohort,
        intake=tuple(intake),
        gallery=gallery,
        questions=tuple((question, statement) for question, statement in questions),
        against=against,
        subgroups=tuple(subgroups),
        saliency="" if saliency == "none" else saliency,
    )
    if rebuild:
        if asked.options:
            raise UsageError(f"a report is rebuilt as it was asked for: leave out {', '.join(asked.options)}")
        return _rebuild(lake, subject, output)
    if is_study(lake, subject):
        if asked.options:
            raise UsageError(f"a report about a study takes no {', '.join(asked.options)}; leave them out")
        return _about_study(lake, subject, output)
    if looks_like_uid(subject):
        # Before the run is recorded: it may be the original identifier, which must not come into the lake.
        raise unknown_study(lake, subject)
    with start_run(lake, "report", _arguments(lake, asked)) as recorder:
        recorder.saw()
        _write(recorder, resolve(lake, asked), output)
        recorder.outcome(subject, "stored")
    return recorder.run


def _arguments(lake: Lake, asked: Asked) -> dict[str, Any]:
    return {
        "subject": asked.subject,
        # Whose pictures are on the page: erasing a patient looks here for the pages that must go.
        "cohort": asked.cohort or _pictured(lake, asked.subject),
        "intake": list(asked.intake),
        "gallery": asked.gallery,
        "against": asked.against,
        "subgroups": list(asked.subgroups),
        "saliency": asked.saliency,
    }


def _write(recorder: Recorder, asked: Asked, output: str | Path | None) -> dict[str, Any]:
    """Make the page and keep it with its figures; returns these."""
    lake = recorder.lake
    data = describe(lake, asked)
    figures = figures_of(data)
    digest = figures_digest(figures)
    recorder.input_digest = digest
    recorder.result["figures"] = digest
    _keep_page(lake, recorder, render_report(data).encode(), output)
    _keep(lake, recorder, "figures.json", figures_file(asked, figures, digest))
    return figures


def _rebuild(lake: Lake, run_id: str, output: str | Path | None) -> Run:
    arguments = earlier(lake, run_id)
    asked, was, digest = kept_figures(lake, run_id)
    with start_run(lake, "report", {**arguments, "rebuilds": run_id}) as recorder:
        recorder.saw()
        found = differences(was, _write(recorder, asked, output))
        same = not found
        recorder.result |= {
            "rebuilds": run_id,
            "was": digest,
            "same": same,
            "different": len(found),
            "differences": [vars(one) for one in found[:_SHOWN]],
        }
        recorder.outcome(run_id, "stored")
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


def _pictured(lake: Lake, subject: str) -> str | None:
    """Name of the cohort that a page about a run or a cohort shows."""
    rows = lake.sql("select arguments from runs where run_id = $run", {"run": subject}).rows()
    if rows:
        name = json.loads(rows[0][0]).get("cohort")
        return name if isinstance(name, str) else None
    try:
        found = get_cohort(lake, subject)
    except (NotFoundError, UsageError):
        return None
    return f"{found.name}@{found.version}"
