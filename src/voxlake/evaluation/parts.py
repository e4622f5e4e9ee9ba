"""Building blocks of a page: tables, plots and sections. Plain values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from voxlake.metrics.estimate import Estimate

__all__ = ["Cell", "Example", "Guide", "Plot", "Section", "Table", "Trace"]

# None is "not known", NaN is "not defined"; the page writes them out in these words.
Cell: TypeAlias = str | int | float | Estimate | None


@dataclass(frozen=True)
class Table:
    """A table with a caption.

    Parameters
    ----------
    caption : str
        What it shows, one sentence.
    columns : tuple of str
        Headings; the first column heads the rows.
    rows : tuple of tuples
        Cells, one for each column.
    note : str
        A line under the table, or ``""``.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True, eq=False)
class Trace:
    """One set of points of a plot.

    Parameters
    ----------
    name : str
        In the legend; ``""`` for none.
    x, y : ndarray, shape (points,)
        Where the points are; NaN leaves one out.
    low, high : ndarray, shape (points,), or None
        Ends of an interval: of `y`, or of `x` in the form ``"forest"``.
    form : {"line", "step", "points", "errors", "bars", "forest"}
        Lines and steps show an interval as a band, errors and forest as whiskers.
    """

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    low: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None
    form: Literal["line", "step", "points", "errors", "bars", "forest"] = "line"


@dataclass(frozen=True)
class Guide:
    """A line to compare with.

    Parameters
    ----------
    name : str
        In the legend; ``""`` for none.
    direction : {"diagonal", "horizontal", "vertical"}
        How it runs.
    at : float
        Where it crosses the other axis; of the diagonal without meaning.
    """

    name: str
    direction: Literal["diagonal", "horizontal", "vertical"]
    at: float = 0.0


@dataclass(frozen=True, eq=False)
class Plot:
    """A drawing of points and lines.

    Parameters
    ----------
    name : str
        Short, of letters and ``-``, not used twice on a page.
    title, words : str
        Heading and explanation.
    x_label, y_label : str
        Of the axes.
    traces : tuple of Trace
        What is drawn.
    guides : tuple of Guide
        Lines to compare with.
    x_range, y_range : (float, float) or None
        Ends of the axes; None to fit the points.
    ticks : tuple of str
        Names of 0, 1, 2, ... on the vertical axis, drawn from the top down.
    wide : bool
        Whether it takes the whole width of the page.
    """

    name: str
    title: str
    words: str
    x_label: str
    y_label: str
    traces: tuple[Trace, ...]
    guides: tuple[Guide, ...] = ()
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    ticks: tuple[str, ...] = ()
    wide: bool = False


@dataclass(frozen=True, eq=False)
class Example:
    """An image with what it is and what the model thought.

    Parameters
    ----------
    image : ndarray of uint8, shape (rows, columns) or (rows, columns, 3)
        Grey or RGB picture, ready to show.
    identifier : str
        Identifier in the lake; never a patient's name or a file name.
    truth, predicted : str
        Class names; both ``""`` where the image only illustrates.
    probability : float or None
        Probability of `probability_of`.
    probability_of : str
        Class that the probability is about.
    note : str
        A line under the image.
    """

    image: NDArray[np.uint8]
    identifier: str
    truth: str = ""
    predicted: str = ""
    probability: float | None = None
    probability_of: str = ""
    note: str = ""


@dataclass(frozen=True, eq=False)
class Section:
    """A section of the page.

    Parameters
    ----------
    anchor : str
        Short, of letters and ``-``, not used twice on a page.
    heading : str
        Of the section.
    words : tuple of str
        Paragraphs at its head.
    plots : tuple of Plot
        Drawings, side by side.
    tables : tuple of Table
        Under the drawings.
    pictures : tuple of Example
        Images, under the tables.
    place : {"data", "results", "appendix"}
        Where it stands: with the data, after the curves, or behind the limitations.
    """

    anchor: str
    heading: str
    words: tuple[str, ...] = ()
    plots: tuple[Plot, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Example, ...] = ()
    place: Literal["data", "results", "appendix"] = "results"
