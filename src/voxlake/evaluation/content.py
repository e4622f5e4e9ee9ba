"""What a report says: plain values only, so that a page can be drawn, tested and rebuilt without a lake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voxlake.evaluation.parts import Cell, Example, Guide, Plot, Section, Table, Trace
from voxlake.metrics.curves import CalibrationCurve, PrecisionRecallCurve, RocCurve
from voxlake.metrics.estimate import Estimate

__all__ = [
    "Cell",
    "ContactSheet",
    "Example",
    "Exclusion",
    "Flow",
    "FlowPart",
    "FlowStep",
    "Guide",
    "Ingest",
    "OperatingPoint",
    "Plot",
    "Question",
    "ReportData",
    "Section",
    "SheetPicture",
    "Table",
    "TextBlock",
    "Trace",
    "TrainingCurve",
]


@dataclass(frozen=True)
class Exclusion:
    """Items that left the flow, and why."""

    reason: str
    count: int


@dataclass(frozen=True)
class FlowStep:
    """A box of the flow of data.

    Parameters
    ----------
    label : str
        What these items are, for example ``"X-ray images found"``.
    count : int
        How many.
    patients : int or None
        How many patients they belong to, if known.
    excluded : tuple of Exclusion
        What is lost between this box and the next.
    unit : str
        What is counted here, where it differs from the unit of the flow, for example ``"files"``.
    """

    label: str
    count: int
    patients: int | None = None
    excluded: tuple[Exclusion, ...] = ()
    unit: str = ""


@dataclass(frozen=True)
class FlowPart:
    """A part into which the last box is divided, for example the test patients."""

    label: str
    count: int
    patients: int | None = None


@dataclass(frozen=True)
class Flow:
    """The way from all that was found to what was used."""

    steps: tuple[FlowStep, ...]
    parts: tuple[FlowPart, ...] = ()
    unit: str = "images"


@dataclass(frozen=True)
class TrainingCurve:
    """Loss and figures of one fold over the epochs, first epoch first.

    Parameters
    ----------
    name : str
        Fold.
    training, validation : tuple of float
        Loss after each epoch.
    best : int or None
        Number of the epoch (from 1) whose weights were kept.
    figures : mapping of str to tuple of float
        Other figures of the validation part after each epoch, by name.
    """

    name: str
    training: tuple[float, ...]
    validation: tuple[float, ...]
    best: int | None = None
    figures: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class OperatingPoint:
    """The threshold at which probabilities become decisions, and where it lies on both curves."""

    threshold: float
    recall: float
    false_positive_rate: float
    precision: float
    chosen: str = "chosen on validation data"


@dataclass(frozen=True)
class TextBlock:
    """Text that is shown as it is, for example a plan in TOML."""

    title: str
    text: str


@dataclass(frozen=True)
class Question:
    """A question to the lake, its SQL and the answer."""

    question: str
    sql: str
    answer: Table


@dataclass(frozen=True)
class Ingest:
    """What came into the lake.

    Parameters
    ----------
    balance : str
        The balance of the run in one line.
    tables : tuple of Table
        What was stored, what was left out and why, what de-identification changed.
    questions : tuple of Question
        SQL with answers.
    gallery : tuple of Example
        Pictures of what was built.
    """

    balance: str
    tables: tuple[Table, ...] = ()
    questions: tuple[Question, ...] = ()
    gallery: tuple[Example, ...] = ()


@dataclass(frozen=True, eq=False)
class SheetPicture:
    """A volume on a contact sheet.

    Parameters
    ----------
    image : ndarray of uint8, shape (rows, columns, 3)
        Its planes side by side, masks over them.
    identifier : str
        Identifier in the lake.
    note : str
        A line under the picture.
    amounts : tuple of (name, amount)
        Labels with their size, for example ``("Brain", "1,254 ml")``.
    """

    image: NDArray[np.uint8]
    identifier: str
    note: str = ""
    amounts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class ContactSheet:
    """Pictures of volumes, with masks over them.

    Parameters
    ----------
    title : str
        Whose masks, or of what plan.
    pictures : tuple of SheetPicture
        In the order of the page.
    legend : tuple of (name, RGB)
        Labels and their colours, 0 to 255, the same in all pictures.
    note : str
        How many there are and how many are shown, and what else must be known.
    flat : bool
        Whether the pictures are single images, of which more fit side by side.
    """

    title: str
    pictures: tuple[SheetPicture, ...]
    legend: tuple[tuple[str, tuple[int, int, int]], ...] = ()
    note: str = ""
    flat: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class ReportData:
    """All that a report shows. What is left empty has no section.

    Parameters
    ----------
    title, task, summary : str
        Headline, what was to be learned, and the result in one plain sentence.
    created : str
        When, as it shall be printed.
    synthetic : str
        Why the images are not of patients; shown as a banner. ``""`` for real images.
    unit : str
        What is scored, in the plural: ``"images"``, ``"volumes"``.
    group : str
        What is independent, in the plural: ``"patients"``, or ``"images"`` where patients are not known.
    estimates : tuple of Estimate
        Metrics; names that `voxlake.evaluation.wording` knows are explained and grouped.
    operating_point : OperatingPoint or None
        Where decisions are made.
    classes : tuple of str
        Names of rows and columns of the confusion matrix.
    confusion : ndarray or None
        Counts, shape (classes, classes), row: truth, column: decision.
    roc, precision_recall, calibration : mapping of str to curve
        One curve for each name (model, fold or class).
    prevalence : float or None
        Share of positive samples, the level of a useless model in the precision-recall plot.
    folds : Table or None
        Figures per fold.
    training : tuple of TrainingCurve
        Loss over the epochs.
    flow : Flow or None
        Flow of data and exclusions.
    cohort : tuple of Table
        Who is in the data, per part.
    mistakes, correct : tuple of Example
        Images that the model got wrong and right, the most confident first.
    limitations : tuple of str
        What a reader must know before believing the figures.
    sheets : tuple of ContactSheet
        Pictures of volumes with masks over them.
    ingest : Ingest or None
        What came into the lake.
    sections : tuple of Section
        What else there is to say; each names its place.
    settings : tuple of TextBlock
        Task, plan and network as text.
    lineage : tuple of Table
        Digests and identifiers.
    made_by : str
        Software and version.
    kind : str
        What sort of report it is, over the headline.
    """

    title: str
    task: str
    summary: str
    created: str
    synthetic: str = ""
    unit: str = "images"
    group: str = "patients"
    estimates: tuple[Estimate, ...] = ()
    operating_point: OperatingPoint | None = None
    classes: tuple[str, ...] = ()
    confusion: NDArray[np.float64] | NDArray[np.int64] | None = None
    roc: Mapping[str, RocCurve] = field(default_factory=dict)
    precision_recall: Mapping[str, PrecisionRecallCurve] = field(default_factory=dict)
    calibration: Mapping[str, CalibrationCurve] = field(default_factory=dict)
    prevalence: float | None = None
    folds: Table | None = None
    training: tuple[TrainingCurve, ...] = ()
    flow: Flow | None = None
    cohort: tuple[Table, ...] = ()
    mistakes: tuple[Example, ...] = ()
    correct: tuple[Example, ...] = ()
    limitations: tuple[str, ...] = ()
    sheets: tuple[ContactSheet, ...] = ()
    ingest: Ingest | None = None
    sections: tuple[Section, ...] = ()
    settings: tuple[TextBlock, ...] = ()
    lineage: tuple[Table, ...] = ()
    made_by: str = "voxlake"
    kind: str = "Evaluation report"
