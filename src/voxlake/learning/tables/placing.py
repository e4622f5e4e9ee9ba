"""Places of rows in few dimensions: principal components, Isomap and t-SNE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, Isomap
from sklearn.neighbors import kneighbors_graph

from voxlake.core.errors import UsageError

__all__ = ["Placing", "fit_components", "place_by_isomap", "place_by_tsne"]

Floats: TypeAlias = NDArray[np.float64]

_MOST_ISOMAP = 10_000


@dataclass(frozen=True, eq=False)
class Placing:
    """Principal components, which place other rows too.

    Parameters
    ----------
    middle : numpy.ndarray
        float64 (columns,), mean of the rows.
    directions : numpy.ndarray
        float64 (components, columns), of length 1, at right angles; the largest number of each is positive.
    explained : numpy.ndarray
        float64 (components,), share of the variance along each.
    """

    middle: Floats
    directions: Floats
    explained: Floats

    def apply(self, values: Floats) -> Floats:
        """Coordinates of rows, float64 (N, components)."""
        placed: Floats = (values - self.middle) @ self.directions.T
        return placed

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {name: value.tolist() for name, value in vars(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Placing:
        """The reverse of `to_dict`."""
        return cls(**{name: np.asarray(values[name], dtype=np.float64) for name in cls.__dataclass_fields__})


def fit_components(values: Floats, components: int) -> Placing:
    """Principal components.

    Parameters
    ----------
    values : numpy.ndarray
        float64 (N, columns).
    components : int
        How many.

    Raises
    ------
    UsageError
        There are fewer columns or rows.
    """
    most = min(values.shape[1], len(values) - 1)
    if components > most:
        raise UsageError(f"{len(values)} rows of {values.shape[1]} columns have {most} components at most")
    # The solver is fixed: the automatic choice draws at random above 500 rows.
    model = PCA(components, svd_solver="full").fit(values)
    directions = model.components_
    signs = np.sign(directions[np.arange(components), np.abs(directions).argmax(axis=1)])
    return Placing(model.mean_, directions * signs[:, np.newaxis], model.explained_variance_ratio_)


def place_by_isomap(values: Floats, components: int, *, neighbours: int) -> Floats:
    """Coordinates whose distances are those along the neighbours, float64 (N, components).

    Raises
    ------
    UsageError
        Too few or too many rows, or the neighbours do not hang together.
    """
    if not neighbours < len(values) or components >= len(values):
        raise UsageError(f"{len(values)} rows are too few for {neighbours} neighbours")
    if len(values) > _MOST_ISOMAP:
        raise UsageError(f"Isomap takes up to {_MOST_ISOMAP} rows, got {len(values)}; use method = 'pca'")
    from scipy.sparse.csgraph import connected_components

    parts, _ = connected_components(kneighbors_graph(values, neighbours), directed=False)
    if parts > 1:
        raise UsageError(
            f"with {neighbours} neighbours the rows fall into {parts} parts without a way between them; "
            "take more neighbours"
        )
    placed: Floats = Isomap(n_neighbors=neighbours, n_components=components).fit_transform(values)
    return placed


def place_by_tsne(values: Floats, components: int, *, perplexity: float, seed: int) -> Floats:
    """Coordinates in which neighbours stay neighbours, float64 (N, components); other distances say nothing.

    Raises
    ------
    UsageError
        More than three components, or a perplexity that the rows do not allow.
    """
    if components > 3:
        raise UsageError(f"t-SNE places in up to 3 dimensions, got {components}; use method = 'pca'")
    if perplexity >= len(values):
        raise UsageError(f"perplexity {perplexity} needs more than {len(values)} rows; take a smaller one")
    model = TSNE(components, perplexity=perplexity, init="pca", random_state=seed % 2**32)
    return np.asarray(model.fit_transform(values), dtype=np.float64)
