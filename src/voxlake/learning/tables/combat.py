"""ComBat: what scanners and centres add to numbers is estimated and taken out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import UsageError

__all__ = ["Combat", "fit_combat"]

Floats = NDArray[np.float64]

# The rule of the published implementation, kept so that results are the same.
_CONVERGED = 1e-4
_MOST_ITERATIONS = 10_000


@dataclass(frozen=True, eq=False)
class Combat:
    """A fitted ComBat, applied to rows of the batches that it was fitted on.

    Parameters
    ----------
    batches : tuple of str
        Batches, in the order of the parameters.
    mean, deviation : numpy.ndarray
        float64 (P,), what each variable was standardised with.
    effects : numpy.ndarray
        float64 (C, P), influence of the covariates, which is kept.
    location, scale : numpy.ndarray
        float64 (B, P), shift and standard deviation of each batch, in standardised units.
    """

    batches: tuple[str, ...]
    mean: Floats
    deviation: Floats
    effects: Floats
    location: Floats
    scale: Floats

    def apply(self, values: Floats, batch: Sequence[str | None], covariates: Floats | None = None) -> Floats:
        """Take the batches out.

        Parameters
        ----------
        values : numpy.ndarray
            float64 (N, P), without missing numbers.
        batch : sequence of str
            (N,), batch of each row.
        covariates : numpy.ndarray, optional
            float64 (N, C), as they were fitted.

        Returns
        -------
        numpy.ndarray
            float64 (N, P).

        Raises
        ------
        UsageError
            A row is from a batch that was not fitted, or shapes do not fit.
        """
        known = {name: place for place, name in enumerate(self.batches)}
        unknown = sorted({str(name) for name in batch if name not in known})
        if unknown:
            raise UsageError(
                f"ComBat was fitted on the batches {list(self.batches)} and cannot harmonise rows of "
                f"{unknown[:5]}; leave these rows out, or fit it on a table that has them"
            )
        place = np.array([known[str(name)] for name in batch], dtype=np.int64)
        kept = self.mean + _design(covariates, len(values)) @ self.effects
        standard = (values - kept) / self.deviation
        changed: Floats = (standard - self.location[place]) / self.scale[place] * self.deviation + kept
        return changed

    def to_dict(self) -> dict[str, Any]:
        """Plain values; floats survive JSON unchanged."""
        arrays = ("mean", "deviation", "effects", "location", "scale")
        return {"batches": list(self.batches), **{name: getattr(self, name).tolist() for name in arrays}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Combat:
        """The reverse of `to_dict`."""
        mean = np.asarray(values["mean"], dtype=np.float64)
        effects = np.asarray(values["effects"], dtype=np.float64).reshape(-1, len(mean))
        rest = {
            name: np.asarray(values[name], dtype=np.float64) for name in ("deviation", "location", "scale")
        }
        return cls(tuple(values["batches"]), mean, effects=effects, **rest)


def fit_combat(
    values: Floats,
    batch: Sequence[str | None],
    covariates: Floats | None = None,
    *,
    parametric: bool = True,
    mean_only: bool = False,
) -> Combat:
    """Estimate location and scale of batches with empirical Bayes (Johnson, Li & Rabinovic, 2007).

    Equal to the published implementations (``sva`` in R, ``neuroCombat``), their rule of convergence
    included. A variable without variance within batches is left as it is, where these divide by another
    variable's; with one variable alone there is nothing to borrow from, and plain estimates are taken.

    Parameters
    ----------
    values : numpy.ndarray
        float64 (N, P), without missing numbers.
    batch : sequence of str
        (N,), batch of each row; none may be missing.
    covariates : numpy.ndarray, optional
        float64 (N, C), numbers whose influence is kept; a category of k values is k - 1 columns.
    parametric : bool
        Whether the priors are normal and inverse gamma, or the other variables' estimates themselves.
    mean_only : bool
        Leave the variances as they are.

    Raises
    ------
    UsageError
        Fewer than two batches, a batch with a single row, a missing batch, or covariates that the batches
        determine.
    """
    values = np.asarray(values, dtype=np.float64)
    names, place, counts = _batches(batch)
    onehot = np.eye(len(names))[place]
    extra = _design(covariates, len(values))
    design = np.hstack([onehot, extra])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise UsageError("the covariates of ComBat are determined by the batches; leave them out")
    beta: Floats = np.linalg.solve(design.T @ design, design.T @ values).astype(np.float64)
    mean: Floats = counts / len(values) @ beta[: len(names)]
    effects = beta[len(names) :]
    variance = ((values - design @ beta) ** 2).mean(axis=0)
    varies = variance > 1e-20 * np.maximum(1.0, (values**2).mean(axis=0))
    deviation = np.asarray(np.sqrt(np.where(varies, variance, 1.0)), dtype=np.float64)
    standard = (values - mean - extra @ effects) / deviation
    location, scale = np.zeros((len(names), values.shape[1])), np.ones((len(names), values.shape[1]))
    rows = [standard[place == number][:, varies] for number in range(len(names))]
    for number, (shift, spread) in enumerate(_estimates(rows, parametric, mean_only)):
        location[number, varies], scale[number, varies] = shift, np.sqrt(spread)
    return Combat(names, mean, deviation, effects, location, scale)


def _batches(batch: Sequence[str | None]) -> tuple[tuple[str, ...], NDArray[np.int64], Floats]:
    missing = sum(name is None for name in batch)
    if missing:
        raise UsageError(f"ComBat needs the batch of every row; {missing} rows have none")
    names, place, counts = np.unique(
        np.array([str(name) for name in batch]), return_inverse=True, return_counts=True
    )
    if len(names) < 2:
        raise UsageError(f"ComBat needs two batches or more, got {len(names)}")
    if counts.min() < 2:
        single = [str(name) for name, count in zip(names, counts, strict=True) if count < 2]
        raise UsageError(f"ComBat needs two rows of each batch or more; one row each of {single[:5]}")
    return tuple(str(name) for name in names), place.astype(np.int64), counts.astype(np.float64)


def _design(covariates: Floats | None, rows: int) -> Floats:
    return np.zeros((rows, 0)) if covariates is None else np.asarray(covariates, dtype=np.float64)


def _estimates(rows: Sequence[Floats], parametric: bool, mean_only: bool) -> list[tuple[Floats, Floats]]:
    """Shift and variance of each batch from its standardised rows."""
    found = []
    for batch in rows:
        shift = batch.mean(axis=0)
        spread = np.ones_like(shift) if mean_only else batch.var(axis=0, ddof=1)
        spread = np.where(spread == 0, 1.0, spread)
        if len(shift) < 2:
            found.append((shift, spread))
        elif not parametric:
            found.append(_nonparametric(batch, shift, spread))
        elif mean_only:
            prior = shift.var(ddof=1)
            found.append(((prior * shift + shift.mean()) / (prior + 1), spread))
        else:
            found.append(_parametric(batch, shift, spread))
    return found


def _parametric(batch: Floats, shift: Floats, spread: Floats) -> tuple[Floats, Floats]:
    """Posterior means with a normal prior on shifts and an inverse gamma prior on variances."""
    samples, prior_mean, prior_variance = len(batch), shift.mean(), shift.var(ddof=1)
    centre, width = spread.mean(), spread.var(ddof=1)
    if width == 0:
        return shift, spread
    alpha, beta = 2 + centre**2 / width, centre + centre**3 / width
    first, second = batch.sum(axis=0), (batch**2).sum(axis=0)
    location, scale = shift, spread
    for _ in range(_MOST_ITERATIONS):
        moved = (prior_variance * samples * shift + scale * prior_mean) / (prior_variance * samples + scale)
        squares = second - 2 * moved * first + samples * moved**2
        spreads = (0.5 * squares + beta) / (samples / 2 + alpha - 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            # Divided by the signed value, as published: only shifts above zero hold the iteration up.
            change = max(
                np.nanmax(np.abs(moved - location) / location), np.max(np.abs(spreads - scale) / scale)
            )
        location, scale = moved, spreads
        if change <= _CONVERGED:
            break
    return location, scale


def _nonparametric(batch: Floats, shift: Floats, spread: Floats) -> tuple[Floats, Floats]:
    """Means of the other variables' estimates, weighed by how likely they make the rows."""
    samples = len(batch)
    first, second = batch.sum(axis=0), (batch**2).sum(axis=0)
    squares = second[:, None] - 2 * first[:, None] * shift + samples * shift**2
    log = -samples / 2 * np.log(2 * np.pi * spread) - squares / (2 * spread)
    np.fill_diagonal(log, -np.inf)
    # In logarithms: a likelihood of many rows is too small a number for a float.
    weight = np.exp(log - log.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    return weight @ shift, weight @ spread
