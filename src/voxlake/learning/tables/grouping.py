"""Grouping of rows of numbers: k-means, a mixture of normal distributions, Ward's joining."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from voxlake.core.errors import UsageError

__all__ = ["Grouping", "Method", "fit_grouping"]

Method = Literal["kmeans", "mixture", "agglomerative"]
Floats: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.int64]

# Ward's joining keeps the distances of all pairs: 20,000 rows take 3.2 GB.
_MOST_JOINED = 20_000


@dataclass(frozen=True, eq=False)
class Grouping:
    """Groups that new rows can be put into; the largest comes first.

    Parameters
    ----------
    method : str
        How they were made.
    centres : numpy.ndarray
        float64 (clusters, columns), means of the groups.
    shares : numpy.ndarray or None
        float64 (clusters,), weights of a mixture.
    spreads : numpy.ndarray or None
        float64 (clusters, columns, columns), covariances of a mixture.
    """

    method: Method
    centres: Floats
    shares: Floats | None = None
    spreads: Floats | None = None

    def __len__(self) -> int:
        return len(self.centres)

    def assign(self, values: Floats) -> Labels:
        """The group of each row: the most probable one of a mixture, else that with the nearest mean.

        Parameters
        ----------
        values : numpy.ndarray
            float64 (N, columns).

        Returns
        -------
        numpy.ndarray
            int64 (N,), 0 to the number of groups less one.
        """
        if self.shares is not None:
            return np.asarray(self.probabilities(values).argmax(axis=1), dtype=np.int64)
        # |x - c|^2 less |x|^2, which is the same for all groups.
        far = (self.centres**2).sum(axis=1) - 2 * values @ self.centres.T
        return np.asarray(far.argmin(axis=1), dtype=np.int64)

    def probabilities(self, values: Floats) -> Floats:
        """Probability of each group of a mixture, float64 (N, clusters).

        Raises
        ------
        UsageError
            The groups are no mixture.
        """
        if self.shares is None or self.spreads is None:
            raise UsageError(f"groups by {self.method} have no probabilities; use method = 'mixture'")
        logs = np.empty((len(values), len(self)))
        for place, (share, centre, spread) in enumerate(
            zip(self.shares, self.centres, self.spreads, strict=True)
        ):
            root = np.linalg.cholesky(spread)
            moved = np.linalg.solve(root, (values - centre).T)
            logs[:, place] = np.log(share) - np.log(np.diag(root)).sum() - 0.5 * (moved**2).sum(axis=0)
        return np.asarray(np.exp(logs - logsumexp(logs, axis=1, keepdims=True)), dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "method": self.method,
            "centres": self.centres.tolist(),
            "shares": None if self.shares is None else self.shares.tolist(),
            "spreads": None if self.spreads is None else self.spreads.tolist(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Grouping:
        """The reverse of `to_dict`."""
        shares, spreads = values["shares"], values["spreads"]
        return cls(
            method=values["method"],
            centres=np.asarray(values["centres"], dtype=np.float64),
            shares=None if shares is None else np.asarray(shares, dtype=np.float64),
            spreads=None if spreads is None else np.asarray(spreads, dtype=np.float64),
        )


def fit_grouping(values: Floats, clusters: int, *, method: Method = "kmeans", seed: int = 0) -> Grouping:
    """Find groups.

    Parameters
    ----------
    values : numpy.ndarray
        float64 (N, columns), finite, on comparable scales.
    clusters : int
        How many.
    method : {"kmeans", "mixture", "agglomerative"}
        ``"mixture"`` has a full covariance for each group where the rows suffice for five times its numbers,
        else a diagonal one.
    seed : int
        Of the first centres.

    Raises
    ------
    UsageError
        There are fewer different rows than groups, or too many rows for the method.
    """
    different = len(np.unique(values, axis=0))
    if different < clusters:
        raise UsageError(f"{different} different rows cannot make {clusters} groups; ask for fewer")
    draw = seed % 2**32
    if method == "mixture":
        return _mixture(values, clusters, draw)
    if method == "kmeans":
        found = KMeans(clusters, n_init=10, random_state=draw).fit_predict(values)
    else:
        if len(values) > _MOST_JOINED:
            raise UsageError(
                f"joining groups takes the square of the rows in memory: {len(values)} rows are over "
                f"{_MOST_JOINED}; use method = 'kmeans'"
            )
        found = AgglomerativeClustering(clusters, linkage="ward").fit_predict(values)
    centres = np.array([values[found == each].mean(axis=0) for each in range(clusters)])
    return Grouping(method, centres[_order(found, centres)])


def _mixture(values: Floats, clusters: int, seed: int) -> Grouping:
    columns = values.shape[1]
    full = len(values) >= 5 * clusters * columns * (columns + 1) / 2
    model = GaussianMixture(
        clusters, covariance_type="full" if full else "diag", n_init=5, reg_covar=1e-4, random_state=seed
    )
    with warnings.catch_warnings():
        # A mixture that still moves a little after 100 steps is as good a grouping as any.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = model.fit_predict(values)
    spreads = model.covariances_ if full else np.array([np.diag(each) for each in model.covariances_])
    order = _order(found, model.means_)
    return Grouping("mixture", model.means_[order], model.weights_[order], spreads[order])


def _order(found: NDArray[np.int64], centres: Floats) -> Labels:
    """Largest group first; equally large ones by their centres, so that numbers do not depend on chance."""
    sizes = np.bincount(found, minlength=len(centres))
    keys = [tuple(centre) for centre in centres.tolist()]
    return np.array(sorted(range(len(centres)), key=lambda each: (-sizes[each], keys[each])), dtype=np.int64)
