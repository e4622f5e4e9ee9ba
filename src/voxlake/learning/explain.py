"""Saliency maps of a stored model, each by networks that have not learned from the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from voxlake.core.errors import UsageError
from voxlake.lake.lake import Lake
from voxlake.learning.inputs import image_inputs
from voxlake.learning.model import Model, get_model
from voxlake.learning.units import Unit
from voxlake.networks.saliency import Method, method_named, saliency
from voxlake.networks.saliency_check import SanityCheck, Stage, sanity_check

__all__ = ["Explained", "explain"]

# An occluding patch is this share of the image wide, along every axis.
_PATCHES = 8


@dataclass(frozen=True, eq=False)
class Explained:
    """Maps, and whether they depend on what was learned.

    Parameters
    ----------
    maps : ndarray of float32
        (N, slices, rows, columns), of one slice for flat images; positive where it speaks for the class.
    check : SanityCheck
        Mean over the networks, weighted by their images.
    """

    maps: NDArray[np.float32]
    check: SanityCheck


def explain(
    lake: Lake,
    model: str,
    rows: Sequence[dict[str, Any]],
    targets: Sequence[int],
    folds: Sequence[int],
    *,
    method: str = "grad-cam",
) -> Explained:
    """Explain what a model says of prepared volumes.

    Parameters
    ----------
    lake : Lake
        The lake.
    model : str
        Identifier, or name of its task.
    rows : sequence of mapping
        Rows of `volumes`, prepared with the plan of the model.
    targets : sequence of int
        Which output is explained, for each volume.
    folds : sequence of int
        Whose network speaks, for each volume; -1 for the mean over all networks.
    method : {"grad-cam", "occlusion", "integrated-gradients"}
        How; with integrated gradients the way begins at the mean of the image.

    Raises
    ------
    UsageError
        The model takes no images, or not images alone, there is nothing to explain, or no such method.
    """
    explainer = _Explainer(method_named(method))
    found = get_model(lake, model)
    if found.task.takes != "image":
        raise UsageError(
            f"saliency is of models that take images alone; '{found.task.name}' takes {found.task.takes}"
        )
    if not rows:
        raise UsageError("there is no prepared volume to explain")
    units = [Unit("volume", row["volume_id"], row["patient_id"], (row,)) for row in rows]
    (images,) = image_inputs(lake, found.task, units)
    maps = np.zeros((len(rows), *images.shape[2:]), dtype=np.float32)
    checks: list[tuple[int, SanityCheck]] = []
    for fold, shares in _speakers(found, folds).items():
        chosen = list(shares)
        network, wanted = found.network(fold), [targets[one] for one in chosen]
        weights = np.asarray(list(shares.values()), dtype=np.float32).reshape(-1, *(1,) * (maps.ndim - 1))
        maps[chosen] += weights * explainer(network, images[chosen], wanted)
        checks.append((len(chosen), sanity_check(explainer, network, images[chosen], wanted)))
    flat = maps.ndim == 3
    return Explained(maps[:, None] if flat else maps, _together(checks))


class _Explainer:
    """A method with its settings."""

    def __init__(self, method: Method) -> None:
        self.method = method

    def __call__(self, network: nn.Module, images: Tensor, targets: Sequence[int]) -> NDArray[np.float32]:
        settings: dict[str, Any] = {}
        if self.method == "occlusion":
            settings["patch"] = [max(1, round(side / _PATCHES)) for side in images.shape[2:]]
        elif self.method == "integrated-gradients":
            settings["baseline"] = images.mean(dim=tuple(range(2, images.ndim)), keepdim=True)
        return saliency(self.method, network, images, targets, **settings)


def _speakers(model: Model, folds: Sequence[int]) -> dict[int, dict[int, float]]:
    """For each network the images that it speaks about, and what its map counts for."""
    every = range(int(model.row["folds"]))
    found: dict[int, dict[int, float]] = {}
    for place, fold in enumerate(folds):
        for one in every if fold < 0 else (fold,):
            found.setdefault(one, {})[place] = 1 / len(every) if fold < 0 else 1.0
    return dict(sorted(found.items()))


def _together(checks: Sequence[tuple[int, SanityCheck]]) -> SanityCheck:
    weights = [count for count, _ in checks]
    stages = zip(*(check.stages for _, check in checks), strict=True)
    return SanityCheck(
        tuple(
            Stage(
                each[0].layers,
                each[0].deepest,
                float(np.average([stage.correlation for stage in each], weights=weights)),
            )
            for each in stages
        )
    )
