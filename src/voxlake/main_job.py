"""The main job on one page: from real DICOM files to a report that can be defended.

Real images have no labels here, so learning is shown on phantoms, and every page says so.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

from voxlake.core.errors import NotFoundError
from voxlake.core.plan import Plan
from voxlake.core.run import Run
from voxlake.evaluation.evaluate import evaluate
from voxlake.evaluation.report import report
from voxlake.lake.cohorts import select
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake, open_lake
from voxlake.learning.task import load_task
from voxlake.learning.train import train
from voxlake.privacy.policy import load_policy
from voxlake.volumes.prepare import prepare

__all__ = ["POLICY", "QUESTIONS", "TASK", "demo"]

PATIENTS = 120
# Several nodules each, and few thick slices: a task that a laptop learns in a minute.
PHANTOMS = (
    "phantoms:?seed=1&slices=20&rows=48&columns=48&second_study=0&smallest=9&largest=14&fewest=4&most=7"
)
POLICY = """
name = "demo"
options = [
    "clean_descriptors",
    "retain_longitudinal_modified_dates",
    "retain_patient_characteristics",
    "retain_safe_private",
]

[[waivers]]
what = "modality:US"
reason = "test images that pydicom publishes: what is drawn into them is public already"

[[waivers]]
what = "sop_class:SecondaryCaptureImageStorage"
reason = "test images that pydicom publishes: what is drawn into them is public already"
"""
QUESTIONS = (
    (
        "What is in the real files, by modality and geometry?",
        """select modality, geometry, count(*) as series, sum(images) as images
from series
where coalesce(manufacturer, '') not like 'voxlake%'
group by all order by all""",
    ),
    (
        "In which encodings did they come, and how many are derived images? Every tag can be asked for.",
        """select transfer_syntax_uid, count(*) as files,
       count(*) filter (tags ->> '$.00080008.Value[0]' = 'DERIVED') as derived
from instances
where coalesce(manufacturer, '') not like 'voxlake%'
group by all order by files desc, 1""",
    ),
)
TASK = """
name = "nodule"
cohort = "nodules"
target = "nodule"
positive = "present"
plan = "ct-phantom"

[split]
kind = "kfold"
folds = 3
seed = 7

[network]
name = "cnn"
dimensions = 3
blocks = [8, 16, 32]

[training]
epochs = 20
batch_size = 8
learning_rate = 3e-3
"""


def demo(folder: str | Path = "demo", *, patients: int = PATIENTS, progress: bool | None = None) -> Run:
    """Run the main job from real DICOM files to a report.

    Ingests the 68 real files of the package ``pydicom-data`` (six modalities, some odd on purpose) under a
    policy that waives the check of ultrasound and captures, because these are published test images. It shows
    what was stored and what was not, asks two questions in SQL and builds volumes. Then it makes phantoms,
    which are synthetic and said to be, trains a small network on them by patient, and scores it.

    Parameters
    ----------
    folder : path
        Where the lake and the report go; run again with the same folder, it does only what is missing.
    patients : int
        Number of phantom patients.
    progress : bool, optional
        Whether to show progress bars; by default only on a terminal.

    Returns
    -------
    Run
        The run that wrote the report, with what was stored, left out, changed and scored in ``result``;
        ``result["report"]`` is the path of the page.

    Raises
    ------
    NotFoundError
        The package ``pydicom-data`` is not installed.

    Examples
    --------
    >>> demo("demo")  # doctest: +SKIP
    """
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    lake = open_lake(home / "lake", key=home / "lake.key", policy=POLICY)
    with as_file(_real_images()) as images:
        real = ingest(lake, images, policy=POLICY, progress=progress)
    made = ingest(lake, f"{PHANTOMS}&patients={patients}", policy=POLICY, progress=progress)
    scans = select(
        lake,
        "scans",
        "geometry in ('regular', 'flat') and coalesce(manufacturer, '') not like 'voxlake%'",
    )
    prepare(scans, plan=Plan(), progress=progress)
    nodules = select(lake, "nodules", "manufacturer like 'voxlake%'")
    prepare(nodules, plan="ct-phantom", progress=progress)
    train(lake, load_task(TASK), progress=progress)
    scored = evaluate(lake, "nodule")
    stored = "select run_id from runs where verb = 'ingest' and counts ->> 'stored' is not null order by 1"
    page = report(
        lake,
        "nodule",
        intake=[row[0] for row in lake.sql(stored).rows()],
        gallery="scans",
        questions=QUESTIONS,
        output=home / "report.html",
    )
    shown = {
        "real DICOM files": real.balance(),
        "not stored, and why": dict(real.reasons),
        "changed by de-identification": real.result["changes"],
        "pixels waived": real.result["waived"],
        "waivers of the policy": "; ".join(
            f"{waiver.what}: {waiver.reason}" for waiver in load_policy(POLICY).waivers
        ),
        "phantoms (synthetic)": made.balance(),
        **{question: _answer(lake, statement) for question, statement in QUESTIONS},
        "scores on phantoms, 3 folds by patient": "",
        "scores": scored.result["scores"],
        "report": page.result["report"],
    }
    return replace(page, verb="demo", result=shown)


def _answer(lake: Lake, statement: str) -> str:
    answer = lake.sql(statement)
    return "; ".join(" ".join(str(value) for value in row if value is not None) for row in answer.rows())


def _real_images() -> Traversable:
    try:
        return files("data_store") / "data"
    except ModuleNotFoundError:
        raise NotFoundError(
            "the demo's images come from the package pydicom-data: pip install 'voxlake[demo]'"
        ) from None
