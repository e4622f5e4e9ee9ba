"""Families of models, and the order in which a search tries them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn import ensemble, linear_model, neighbors
from sklearn.exceptions import ConvergenceWarning

from voxlake.core.errors import UsageError
from voxlake.learning.seeds import derived_seed

__all__ = ["Candidate", "Supervised", "build", "candidate", "families", "fit", "predict"]

Candidate = Mapping[str, Any]
Supervised = Literal["classification", "regression"]
Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator], dict[str, Any]]


@dataclass(frozen=True)
class _Family:
    """A family: its classes in scikit-learn, first parameters, and how others are drawn."""

    classes: Mapping[Supervised, Any]
    first: Mapping[str, Any]
    draw: Draw
    fixed: Mapping[str, Any]
    seeded: bool = False


def families(kind: Supervised, names: Sequence[str]) -> tuple[str, ...]:
    """The families that suit a kind, in the order in which they are tried first.

    Raises
    ------
    UsageError
        A family that was asked for does not suit it.
    """
    suited = tuple(name for name, family in _FAMILIES.items() if kind in family.classes)
    for name in names:
        if name not in suited:
            raise UsageError(f"estimator '{name}' is not for {kind}; use some of {list(suited)}")
    return tuple(names) or suited


def candidate(number: int, names: Sequence[str], *, seed: int) -> Candidate:
    """The candidate at a place of the order, which depends on the seed and the families alone.

    First each family with its usual parameters, then parameters drawn at random, family by family.
    """
    name = names[number % len(names)]
    family = _FAMILIES[name]
    if number < len(names):
        return {"estimator": name, **family.first}
    generator = np.random.default_rng(derived_seed(seed, "candidate", number))
    return {"estimator": name, **family.draw(generator)}


def build(which: Candidate, kind: Supervised, *, seed: int) -> Any:
    """An estimator of scikit-learn, not fitted."""
    family = _FAMILIES[which["estimator"]]
    parameters = {**family.fixed, **{key: value for key, value in which.items() if key != "estimator"}}
    if family.seeded:
        # Below 2 ** 32, as NumPy's older generators take no more.
        parameters["random_state"] = seed % 2**32
    return family.classes[kind](**parameters)


def fit(which: Candidate, kind: Supervised, values: Floats, target: NDArray[Any], *, seed: int) -> Any:
    """Fit a candidate.

    Parameters
    ----------
    which : mapping
        ``estimator`` and its parameters.
    kind : {"classification", "regression"}
        What it is for.
    values : numpy.ndarray
        float64 (N, P).
    target : numpy.ndarray
        int64 (N,), index into the classes, or float64 (N,).
    seed : int
        For families that draw.
    """
    estimator = build(_fitting(which, len(values)), kind, seed=seed)
    with warnings.catch_warnings():
        # An optimisation that was cut short is judged by the inner folds like every other candidate.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(values, target)


def predict(estimator: Any, kind: Supervised, values: Floats, *, classes: int) -> Floats:
    """What a fitted estimator says.

    Returns
    -------
    numpy.ndarray
        float64 (N, classes), zero for a class that was not there to be learned; or float64 (N,).
    """
    if kind == "regression":
        return np.asarray(estimator.predict(values), dtype=np.float64)
    found = np.zeros((len(values), classes))
    found[:, np.asarray(estimator.classes_, dtype=np.int64)] = estimator.predict_proba(values)
    return found


def _fitting(which: Candidate, rows: int) -> Candidate:
    """More neighbours than rows are all rows."""
    if which["estimator"] != "neighbours":
        return which
    return {**which, "n_neighbors": min(int(which["n_neighbors"]), rows)}


def _log_uniform(generator: np.random.Generator, low: float, high: float) -> float:
    # Three figures: what is written down is what was used.
    return float(f"{math.exp(generator.uniform(math.log(low), math.log(high))):.3g}")


def _draw_trees(generator: np.random.Generator) -> dict[str, Any]:
    return {
        "max_features": float(f"{generator.uniform(0.1, 1.0):.2f}"),
        "min_samples_leaf": int(generator.choice([1, 2, 4, 8, 16])),
        "max_depth": [None, 4, 8, 16][int(generator.integers(4))],
    }


def _draw_boosting(generator: np.random.Generator) -> dict[str, Any]:
    return {
        "learning_rate": _log_uniform(generator, 0.02, 0.3),
        "max_iter": int(generator.choice([50, 100, 200])),
        "max_leaf_nodes": int(generator.choice([4, 8, 16, 31])),
        "min_samples_leaf": int(generator.choice([5, 10, 20, 40])),
        "l2_regularization": _log_uniform(generator, 1e-3, 10.0),
    }


_TREES = {"max_features": "sqrt", "min_samples_leaf": 1, "max_depth": None}
_FAMILIES: Mapping[str, _Family] = MappingProxyType(
    {
        "logistic": _Family(
            {"classification": linear_model.LogisticRegression},
            {"C": 1.0},
            lambda generator: {"C": _log_uniform(generator, 1e-3, 1e2)},
            {"max_iter": 2000},
        ),
        "linear": _Family(
            {"regression": linear_model.Ridge},
            {"alpha": 1.0},
            lambda generator: {"alpha": _log_uniform(generator, 1e-3, 1e3)},
            {},
        ),
        "neighbours": _Family(
            {"classification": neighbors.KNeighborsClassifier, "regression": neighbors.KNeighborsRegressor},
            {"n_neighbors": 15, "weights": "uniform"},
            lambda generator: {
                "n_neighbors": int(generator.integers(3, 51)),
                "weights": ["uniform", "distance"][int(generator.integers(2))],
            },
            {},
        ),
        "forest": _Family(
            {
                "classification": ensemble.RandomForestClassifier,
                "regression": ensemble.RandomForestRegressor,
            },
            _TREES,
            _draw_trees,
            {"n_estimators": 200},
            seeded=True,
        ),
        "extra_trees": _Family(
            {"classification": ensemble.ExtraTreesClassifier, "regression": ensemble.ExtraTreesRegressor},
            _TREES,
            _draw_trees,
            {"n_estimators": 200},
            seeded=True,
        ),
        "boosting": _Family(
            {
                "classification": ensemble.HistGradientBoostingClassifier,
                "regression": ensemble.HistGradientBoostingRegressor,
            },
            {
                "learning_rate": 0.1,
                "max_iter": 100,
                "max_leaf_nodes": 16,
                "min_samples_leaf": 20,
                "l2_regularization": 0.0,
            },
            _draw_boosting,
            {"early_stopping": False},
            seeded=True,
        ),
    }
)
