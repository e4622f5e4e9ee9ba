"""Recalibration: make probabilities believable again. Fit on validation data only, apply to others.

References
----------
Platt J. Probabilistic outputs for support vector machines and comparisons to regularized likelihood methods.
Advances in Large Margin Classifiers (1999) 61-74.
Zadrozny B, Elkan C. Transforming classifier scores into accurate multiclass probability estimates.
KDD (2002) 694-699.
Guo C, Pleiss G, Sun Y, Weinberger KQ. On calibration of modern neural networks. ICML (2017) 1321-1330.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression, minimize_scalar
from scipy.special import expit, log_softmax, softmax

from voxlake.core.errors import UsageError
from voxlake.metrics.inputs import Floats, as_binary, as_labels, as_scores, as_weights
from voxlake.metrics.logistic import fit_intercept, fit_line, log_odds

__all__ = ["RECALIBRATIONS", "Recalibration", "fit_recalibration"]

Method: TypeAlias = Literal["platt", "temperature", "isotonic"]

RECALIBRATIONS: tuple[Method, ...] = ("platt", "temperature", "isotonic")

# Smallest probability whose logarithm is taken.
_FLOOR = 1e-12
# Temperatures from 1/150 to 150: beyond, probabilities are 0 and 1, or all equal.
_COLDEST = 5.0


@dataclass(frozen=True)
class Recalibration:
    """A fitted map from probabilities to probabilities; make one with `fit_recalibration`.

    Parameters
    ----------
    method : {"platt", "temperature", "isotonic"}
        Kind of map.
    classes : int
        1 for the probability of a positive class, shape (samples,); else the number of columns.
    parameters : tuple of tuple of float
        Platt: intercept and slope for each class. Temperature: the temperature. Isotonic: for each class the
        knots, then the value at each knot.
    """

    method: Method
    classes: int
    parameters: tuple[tuple[float, ...], ...]

    def apply(self, probability: ArrayLike) -> Floats:
        """Recalibrate probabilities.

        Parameters
        ----------
        probability : array-like, shape (samples,) or (samples, classes)
            Of the same form as those of the fit.

        Returns
        -------
        ndarray of float64 of the same shape
            Rows of several classes add up to 1.

        Raises
        ------
        UsageError
            Another number of classes, or values outside 0 to 1.
        """
        values = np.asarray(probability, dtype=np.float64)
        certain = _checked(values, len(values) if values.ndim else 0)
        classes = 1 if certain.ndim == 1 else certain.shape[1]
        if classes != self.classes:
            raise UsageError(f"fitted for {self.classes} columns of probabilities, got {classes}")
        if self.method == "temperature":
            return _tempered(certain, self.parameters[0][0])
        if self.classes == 1:
            return self._one(certain, self.parameters[0])
        columns = [self._one(column, own) for column, own in zip(certain.T, self.parameters, strict=True)]
        found = np.column_stack(columns)
        total = found.sum(axis=1, keepdims=True)
        # Where every class came out impossible, nothing is known better than before.
        return np.asarray(np.where(total > 0, found / np.where(total > 0, total, 1.0), certain))

    def to_dict(self) -> dict[str, Any]:
        """The map as JSON can hold it."""
        return {
            "method": self.method,
            "classes": self.classes,
            "parameters": [list(own) for own in self.parameters],
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Recalibration:
        """Take back what `to_dict` gave.

        Raises
        ------
        UsageError
            It is not such a mapping.
        """
        if set(stored) != {"method", "classes", "parameters"} or stored["method"] not in RECALIBRATIONS:
            raise UsageError(
                "expected method, classes and parameters of a recalibration, as to_dict gives them"
            )
        parameters = tuple(tuple(float(value) for value in own) for own in stored["parameters"])
        return cls(cast("Method", stored["method"]), int(stored["classes"]), parameters)

    def _one(self, certain: Floats, own: tuple[float, ...]) -> Floats:
        if self.method == "platt":
            return np.asarray(expit(own[0] + own[1] * log_odds(certain)))
        knots, levels = np.split(np.asarray(own), 2)
        return np.asarray(np.interp(certain, knots, levels))


def fit_recalibration(
    method: Method, truth: ArrayLike, probability: ArrayLike, *, weights: ArrayLike | None = None
) -> Recalibration:
    """Fit a map from probabilities to probabilities, on validation data and on nothing else.

    Parameters
    ----------
    method : {"platt", "temperature", "isotonic"}
        ``platt``: ``logit P' = a + b logit P``, with Platt's smoothed targets, so that separated classes give
        finite coefficients. ``temperature``: all log-odds (or logarithms of probabilities) divided by one
        number; the order of the classes stays. ``isotonic``: the best rising map, linear between its knots;
        needs many samples and may give exactly 0 and 1. With several classes, Platt's and the isotonic map
        are fitted for each class against all others and the rows brought back to a sum of 1.
    truth : array-like, shape (samples,)
        0 and 1, or class numbers.
    probability : array-like, shape (samples,) or (samples, classes)
        Of the positive class, or of all.
    weights : array-like, shape (samples,), optional
        Weight of each sample.

    Raises
    ------
    UsageError
        An unknown method, values outside 0 to 1, or a class without samples.
    """
    if method not in RECALIBRATIONS:
        raise UsageError(f"recalibration must be one of {', '.join(RECALIBRATIONS)}; got {method!r}")
    labels = as_labels(truth, "truth")
    certain = _checked(probability, labels.size)
    weight = as_weights(weights, labels.size)
    if weight.ndim != 1:
        raise UsageError("a recalibration is fitted with one set of weights, shape (samples,)")
    outcomes = _outcomes(labels, certain)
    present = weight @ outcomes
    if (present <= 0).any() or (present >= weight.sum()).any():
        raise UsageError("a recalibration needs samples of every class, got none of at least one")
    columns = certain[:, np.newaxis] if certain.ndim == 1 else certain
    if method == "temperature":
        return Recalibration(method, columns.shape[1], ((_temperature(certain, outcomes, weight),),))
    fit = _platt if method == "platt" else _isotonic
    parameters = tuple(fit(*pair, weight) for pair in zip(outcomes.T, columns.T, strict=True))
    return Recalibration(method, columns.shape[1], parameters)


def _checked(probability: ArrayLike, samples: int) -> Floats:
    certain = as_scores(probability, "probability", samples)
    if certain.size and (certain.min() < 0 or certain.max() > 1):
        raise UsageError("probability must lie between 0 and 1; turn scores into probabilities first")
    return certain


def _outcomes(labels: np.ndarray[Any, Any], certain: Floats) -> Floats:
    if certain.ndim == 1:
        return as_binary(labels).astype(np.float64)[:, np.newaxis]
    numbers = np.arange(certain.shape[1])
    if not np.isin(labels, numbers).all():
        raise UsageError(f"truth must be class numbers 0 to {numbers[-1]}, one for each column")
    return np.asarray(labels[:, np.newaxis] == numbers, dtype=np.float64)


def _platt(outcome: Floats, certain: Floats, weight: Floats) -> tuple[float, ...]:
    hits, total = float(weight @ outcome), float(weight.sum())
    target = np.where(outcome > 0, (hits + 1) / (hits + 2), 1 / (total - hits + 2))
    odds = log_odds(certain)
    intercept, slope = fit_line(target, odds, weight[np.newaxis])[0]
    if math.isnan(slope):
        # Equal predictions carry no order; all that can be put right is their level.
        intercept, slope = fit_intercept(target, odds, weight[np.newaxis])[0], 1.0
    return float(intercept), float(slope)


def _isotonic(outcome: Floats, certain: Floats, weight: Floats) -> tuple[float, ...]:
    here = weight > 0
    knots, place = np.unique(certain[here], return_inverse=True)
    heavy = np.bincount(place, weight[here])
    mean = np.bincount(place, weight[here] * outcome[here]) / heavy
    levels = np.clip(isotonic_regression(mean, weights=heavy).x, 0.0, 1.0)
    # Inside a level stretch the knots say nothing that its ends do not.
    kept = np.ones(knots.size, dtype=bool)
    kept[1:-1] = (levels[1:-1] != levels[:-2]) | (levels[1:-1] != levels[2:])
    return (*knots[kept].tolist(), *levels[kept].tolist())


def _temperature(certain: Floats, outcomes: Floats, weight: Floats) -> float:
    logits, target = _logits(certain), outcomes
    if certain.ndim == 1:
        target = np.column_stack((1 - outcomes, outcomes))

    def loss(cold: float) -> float:
        scaled = log_softmax(logits * math.exp(cold), axis=1)
        return float(-(weight @ (scaled * target).sum(axis=1)))

    found = minimize_scalar(loss, bounds=(-_COLDEST, _COLDEST), method="bounded", options={"xatol": 1e-9})
    return math.exp(-float(found.x))


def _tempered(certain: Floats, temperature: float) -> Floats:
    rows = np.asarray(softmax(_logits(certain) / temperature, axis=1))
    return np.asarray(rows[:, 1] if certain.ndim == 1 else rows)


def _logits(certain: Floats) -> Floats:
    columns = np.column_stack((1 - certain, certain)) if certain.ndim == 1 else certain
    return np.asarray(np.log(np.maximum(columns, _FLOOR)))
