"""Nested search: one order of candidates, tried in the inner folds of every outer fold.

The order depends on the seed alone, and each candidate is tried everywhere before the next one begins: what a
time budget decides is a single number, and with that number a search is repeated exactly.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voxlake.learning.seeds import derived_seed
from voxlake.learning.tables.estimators import Candidate, Supervised, candidate, families, fit, predict
from voxlake.learning.tables.judging import better, judge
from voxlake.learning.tables.kinds import Tick
from voxlake.learning.tables.prepare import fit_preparation
from voxlake.learning.tables.result import TableFold
from voxlake.learning.tables.settings import PrepareSettings, SearchSettings
from voxlake.learning.tables.table import FeatureTable

__all__ = ["Chosen", "Problem", "Searched", "search"]

Floats = NDArray[np.float64]

# Prepared training and validation values are kept between candidates up to this many bytes.
_KEPT = 512 * 1024**2


@dataclass(frozen=True, eq=False)
class Problem:
    """What is learned from a table.

    Parameters
    ----------
    table : FeatureTable
        All rows.
    kind : {"classification", "regression"}
        Kind.
    target : numpy.ndarray
        int64 (N,), index into the classes, or float64 (N,).
    classes : int
        Their number, 0 for numbers.
    positive : int or None
        The positive class; None for numbers.
    prepare : PrepareSettings
        How columns become numbers.
    """

    table: FeatureTable
    kind: Supervised
    target: NDArray[np.int64] | Floats
    classes: int
    positive: int | None
    prepare: PrepareSettings


@dataclass
class Chosen:
    """The best candidate of one model so far.

    Parameters
    ----------
    fold : int
        Outer fold, -1 for the final model.
    train : numpy.ndarray
        int64 (n,), its rows.
    inner : tuple of TableFold
        Its inner folds.
    which : mapping
        The candidate; empty before the first.
    score : float
        Its value of the metric over all inner folds together.
    said : numpy.ndarray
        float64 (n, classes) or (n,), what it says of each row out of the inner folds.
    scores : list of float
        Of all candidates, in their order.
    """

    fold: int
    train: NDArray[np.int64]
    inner: tuple[TableFold, ...]
    which: Candidate = field(default_factory=dict)
    score: float = float("nan")
    said: Floats = field(default_factory=lambda: np.zeros(0))
    scores: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Searched:
    """A finished search.

    Parameters
    ----------
    metric : str
        What was chosen by.
    candidates : int
        How many were tried.
    seconds : float
        How long it took.
    """

    metric: str
    candidates: int
    seconds: float


def search(
    problem: Problem,
    models: Sequence[Chosen],
    settings: SearchSettings,
    metric: str,
    tick: Tick,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Searched:
    """Try candidates until time or their number is up; each model keeps its best.

    The first of equally good candidates is kept. At least one is tried.

    Parameters
    ----------
    problem : Problem
        What is learned.
    models : sequence of Chosen
        One for each outer fold and one for all rows; they are changed in place.
    settings : SearchSettings
        Families, time, number and seed.
    metric : str
        What is chosen by.
    tick : callable
        Told about each candidate.
    clock : callable
        Gives seconds.
    """
    names = families(problem.kind, settings.estimators)
    values = _Values(problem, models)
    started = clock()
    number = 0
    while True:
        which = candidate(number, names, seed=settings.seed)
        for place, model in enumerate(models):
            _try(problem, model, which, number, metric, values.of(place))
        number += 1
        best = models[-1].score
        tick(f"candidate {number}: {which['estimator']}; best {metric} {best:.3f}")
        if settings.candidates is not None:
            if number >= settings.candidates:
                break
        elif clock() - started >= settings.seconds:
            break
    return Searched(metric, number, clock() - started)


def _try(
    problem: Problem,
    model: Chosen,
    which: Candidate,
    number: int,
    metric: str,
    values: Iterator[tuple[TableFold, Floats, Floats]],
) -> None:
    shape = (len(problem.table), problem.classes) if problem.classes else (len(problem.table),)
    said = np.full(shape, np.nan)
    for place, (fold, train, test) in enumerate(values):
        seed = derived_seed(0, "inner", number, model.fold, place)
        fitted = fit(which, problem.kind, train, problem.target[list(fold.train)], seed=seed)
        said[list(fold.test)] = predict(fitted, problem.kind, test, classes=problem.classes)
    inside = said[model.train]
    score = judge(metric, problem.target[model.train], inside, positive=problem.positive)
    model.scores.append(score)
    if not model.which or better(metric, score, model.score):
        model.which, model.score, model.said = which, score, inside


class _Values:
    """Prepared values of the inner folds, kept between candidates where they fit into memory."""

    def __init__(self, problem: Problem, models: Sequence[Chosen]) -> None:
        self._problem = problem
        self._models = models
        rows = sum(len(fold.train) + len(fold.test) for model in models for fold in model.inner)
        self._keep = rows * max(1, len(problem.table.inputs)) * 8 <= _KEPT
        self._kept: dict[int, list[tuple[TableFold, Floats, Floats]]] = {}

    def of(self, place: int) -> Iterator[tuple[TableFold, Floats, Floats]]:
        """Inner fold, values to fit on and values to be judged on, of a model."""
        if not self._keep:
            return self._made(place)
        if place not in self._kept:
            self._kept[place] = list(self._made(place))
        return iter(self._kept[place])

    def _made(self, place: int) -> Iterator[tuple[TableFold, Floats, Floats]]:
        problem, model = self._problem, self._models[place]
        for number, fold in enumerate(model.inner):
            train = problem.table.take(fold.train)
            prepared = fit_preparation(
                train,
                problem.prepare,
                kind=problem.kind,
                target=problem.target[list(fold.train)],
                seed=derived_seed(0, "select", model.fold, number),
            )
            yield fold, prepared.apply(train), prepared.apply(problem.table.take(fold.test))
