"""What mining a table gives, whatever its kind; it knows no lake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.digest import digest_json

__all__ = ["Mined", "Predicted", "TableFold", "split_digest", "split_to_dict"]


@dataclass(frozen=True)
class TableFold:
    """Positions of the rows of one fold; the names of the parts are those of a network's split.

    Parameters
    ----------
    train : tuple of int
        What the model of the fold is searched and fitted on, by inner folds.
    validation : tuple of int
        Empty where inner folds choose the model.
    test : tuple of int
        What it is tested on.
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Predicted:
    """What one model says about some rows.

    Parameters
    ----------
    part : str
        ``"test"``: by a model that has not seen them. ``"validation"``: out of the inner folds, for
        thresholds and recalibration. ``"fit"``: by a model that was fitted on them, as clusters are.
    fold : int
        Outer fold; -1 for the final model.
    rows : numpy.ndarray
        int64 (n,), positions in the table.
    probabilities : numpy.ndarray or None
        float64 (n, classes).
    values : numpy.ndarray or None
        float64 (n,), numbers or risk scores.
    assigned : tuple of str or None
        (n,), for example clusters.
    """

    part: str
    fold: int
    rows: NDArray[np.int64]
    probabilities: NDArray[np.float64] | None = None
    values: NDArray[np.float64] | None = None
    assigned: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class Mined:
    """What mining gives.

    Parameters
    ----------
    kind : str
        Kind of the task.
    classes : tuple of str
        In the order of the probabilities; empty where there are none.
    predicted : tuple of Predicted
        Predictions by part and fold.
    folds : tuple of TableFold
        Outer folds; empty where nothing is tested.
    results : mapping
        Figures of the kind, as plain values; figures with intervals stand under ``"estimates"``.
    artefacts : mapping of name to bytes
        Files to keep with the model.
    associations : tuple of mapping
        Rows of the table ``associations`` without model and run.
    vectors : numpy.ndarray or None
        float32 (N, k), one vector for each row of the table.
    parameters : int
        Number of fitted parameters, where that means something.
    """

    kind: str
    classes: tuple[str, ...] = ()
    predicted: tuple[Predicted, ...] = ()
    folds: tuple[TableFold, ...] = ()
    results: Mapping[str, Any] = field(default_factory=dict)
    artefacts: Mapping[str, bytes] = field(default_factory=dict)
    associations: tuple[Mapping[str, Any], ...] = ()
    vectors: NDArray[np.float32] | None = None
    parameters: int = 0


def split_to_dict(folds: Sequence[TableFold], subjects: Sequence[str], seed: int) -> dict[str, Any]:
    """Plain values of a split, in the form of a network's: the subjects in each part of each fold."""
    return {
        "seed": seed,
        "folds": [
            {part: [subjects[position] for position in where] for part, where in vars(fold).items()}
            for fold in folds
        ],
    }


def split_digest(folds: Sequence[TableFold], subjects: Sequence[str], seed: int) -> str:
    """SHA-256 over `split_to_dict`."""
    return digest_json(split_to_dict(folds, subjects, seed))
