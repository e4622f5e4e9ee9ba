"""The verb report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from voxlake.core.errors import NotFoundError
from voxlake.core.run import Run
from voxlake.evaluation.content import Ingest, ReportData
from voxlake.evaluation.intake_section import describe_intake
from voxlake.evaluation.model_report import describe_model
from voxlake.evaluation.page import render_report
from voxlake.evaluation.run_report import describe_run
from voxlake.lake.cohorts import get_cohort
from voxlake.lake.lake import Lake
from voxlake.lake.recorder import start_run
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
    """Write one self-contained page about a model or a run.

    Parameters
    ----------
    lake : Lake
        The lake.
    subject : str
        Identifier of a model, name of its task, or identifier of a run.
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
        ``result["report"]`` is the path of the page.

    Raises
    ------
    NotFoundError
        There is neither such a model nor such a run.

    Examples
    --------
    >>> report(lake, "pneumonia", output="report.html")  # doctest: +SKIP
    """
    arguments = {"subject": subject, "cohort": cohort, "intake": list(intake), "gallery": gallery}
    with start_run(lake, "report", arguments) as recorder:
        recorder.saw()
        shown = describe_intake(lake, intake, gallery, questions)
        if lake.sql("select 1 from runs where run_id = $run", {"run": subject}).rows():
            data = describe_run(lake, subject, shown)
        else:
            data = _about_model(lake, subject, cohort, shown)
        page = render_report(data).encode()
        name = f"reports/{recorder.run_id}/report.html"
        lake.objects.put(name, page)
        path = lake.objects.local_path(name)
        if output is not None:
            Path(output).parent.mkdir(parents=True, exist_ok=True)
            Path(output).write_bytes(page)
            path = Path(output)
        recorder.outcome(subject, "stored")
        recorder.result |= {"report": str(path if path is not None else name), "bytes": len(page)}
    return recorder.run


def _about_model(lake: Lake, subject: str, cohort: str | None, shown: Ingest | None) -> ReportData:
    try:
        model = get_model(lake, subject)
    except NotFoundError as error:
        raise NotFoundError(f"{error}; and there is no such run either") from None
    return describe_model(model, None if cohort is None else get_cohort(lake, cohort), shown)
