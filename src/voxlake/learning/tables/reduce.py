"""Mining of kind reduction: each row gets a place in few dimensions, stored as an embedding."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.learning.mining import MiningTask
from voxlake.learning.seeds import derived_seed
from voxlake.learning.tables.figures import fitted_on
from voxlake.learning.tables.kinds import Tick
from voxlake.learning.tables.options import ReduceOptions, options_as
from voxlake.learning.tables.placing import Placing, fit_components, place_by_isomap, place_by_tsne
from voxlake.learning.tables.prepare import fit_preparation
from voxlake.learning.tables.result import Mined
from voxlake.learning.tables.table import FeatureTable

__all__ = ["mine_reduce", "trustworthiness"]

_MOST_TRUSTED = 5000
_LOADINGS = 10


def mine_reduce(table: FeatureTable, task: MiningTask, tick: Tick) -> Mined:
    """Place the rows of a table in few dimensions.

    Raises
    ------
    UsageError
        There are too few rows or columns, or the settings do not suit them.
    """
    options = options_as(task.settings, ReduceOptions)
    seed = derived_seed(task.folds.seed, "reduce")
    preparation = fit_preparation(table, task.prepare)
    values = preparation.apply(table)
    placing: Placing | None = None
    if options.method == "pca":
        placing = fit_components(values, options.components)
        placed = placing.apply(values)
    elif options.method == "isomap":
        placed = place_by_isomap(values, options.components, neighbours=options.neighbours)
    else:
        placed = place_by_tsne(values, options.components, perplexity=options.perplexity, seed=seed)
    tick(options.method)
    results: dict[str, Any] = {
        "method": options.method,
        "variables": list(preparation.names),
        "estimates": [],
    }
    trusted = np.arange(len(values))
    if len(values) > _MOST_TRUSTED:
        trusted = np.sort(np.random.default_rng(seed).choice(len(values), _MOST_TRUSTED, replace=False))
    if 2 * options.neighbours < len(trusted):
        results["trustworthiness"] = trustworthiness(values[trusted], placed[trusted], options.neighbours)
        results["trustworthiness_neighbours"] = options.neighbours
    if placing is not None:
        results["explained"] = placing.explained.tolist()
        results["components"] = [_loadings(one, preparation.names) for one in placing.directions]
    tick("trustworthiness")
    artefacts = {} if placing is None else {"components.json": _stored(placing, preparation.to_dict())}
    return Mined(
        kind="reduction",
        folds=fitted_on(len(table)),
        results=results,
        artefacts=artefacts,
        vectors=placed.astype(np.float32),
        parameters=0 if placing is None else int(placing.directions.size),
    )


def trustworthiness(values: NDArray[np.float64], placed: NDArray[np.float64], neighbours: int) -> float:
    """How far neighbours in the few dimensions are neighbours in all: 1 if they all are.

    Parameters
    ----------
    values : numpy.ndarray
        float64 (N, columns), as they were.
    placed : numpy.ndarray
        float64 (N, components), where they are.
    neighbours : int
        How many of each row count; fewer than half of the rows.

    References
    ----------
    Venna J, Kaski S. Neighborhood preservation in nonlinear projection methods. ICANN 2001, 485-491.
    """
    from sklearn.manifold import trustworthiness as of_library

    return float(of_library(values, placed, n_neighbors=neighbours))


def _loadings(direction: NDArray[np.float64], names: tuple[str, ...]) -> list[dict[str, Any]]:
    first = np.argsort(-np.abs(direction), kind="stable")[:_LOADINGS]
    return [{"variable": names[one], "loading": float(direction[one])} for one in first]


def _stored(placing: Placing, preparation: dict[str, Any]) -> bytes:
    return json.dumps({"placing": placing.to_dict(), "preparation": preparation}).encode()
