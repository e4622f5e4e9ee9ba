"""Whether a saliency map depends on what the network has learned.

Some maps show edges of the image whatever the network knows. If weights are replaced by random ones, layer by
layer from the answer down, a map of what was learned must change (Adebayo et al., 2018, arXiv:1810.03292).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from voxlake.core.errors import UsageError
from voxlake.networks.saliency import scores

__all__ = ["LARGEST_CORRELATION", "SanityCheck", "Stage", "rank_correlation", "sanity_check"]

LARGEST_CORRELATION = 0.5
"""Of the maps of a trained and of a random network, above which the maps are said not to depend on learning.

The paper gives no limit; it shows maps that stay near 1 beside maps that fall towards 0.
"""


@dataclass(frozen=True)
class Stage:
    """Maps after some layers have lost what they learned.

    Parameters
    ----------
    layers : int
        How many layers are random, counted from the answer.
    deepest : str
        Name of the last one that became so.
    correlation : float
        Mean over images of the rank correlation with the maps of the trained network.
    """

    layers: int
    deepest: str
    correlation: float


@dataclass(frozen=True)
class SanityCheck:
    """What randomised weights do to maps.

    Parameters
    ----------
    stages : tuple of Stage
        From the answer down; in the last one all layers are random.
    limit : float
        What the correlation of the last one must stay below.
    """

    stages: tuple[Stage, ...]
    limit: float = LARGEST_CORRELATION

    @property
    def correlation(self) -> float:
        """With all weights random."""
        return self.stages[-1].correlation

    @property
    def passed(self) -> bool:
        """Whether the maps depend on what was learned."""
        return abs(self.correlation) < self.limit


def sanity_check(
    explain: Callable[[nn.Module, Tensor, Sequence[int]], NDArray[np.float32]],
    network: nn.Module,
    images: Tensor,
    targets: Sequence[int] | None = None,
    *,
    stages: int = 4,
    seed: int = 0,
) -> SanityCheck:
    """Randomise a copy of a network from its answer down, and compare the maps.

    Parameters
    ----------
    explain : callable
        Maps network, images and targets to maps (N, ...), for example `voxlake.networks.saliency.grad_cam`.
    network : torch.nn.Module
        Trained; left as it is.
    images : torch.Tensor
        float32 (N, C, [D,] H, W).
    targets : sequence of int, optional
        See `voxlake.networks.saliency.scores`; those of the trained network are kept throughout.
    stages : int
        How often maps are made on the way; the last time all layers are random.
    seed : int
        Of the weights.

    Raises
    ------
    UsageError
        The network has no weights.
    """
    layers = [
        (name, module)
        for name, module in network.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    ]
    if not layers:
        raise UsageError("the network has no weights that could be randomised")
    if targets is None:
        with torch.inference_mode():
            _, targets = scores(network(images), None)
    trained = explain(network, images, targets)
    changed = copy.deepcopy(network)
    names = [name for name, _ in reversed(layers)]
    ends = sorted({round(end) for end in np.linspace(0, len(names), min(stages, len(names)) + 1)[1:]})
    found, begin = [], 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for end in ends:
            for name in names[begin:end]:
                _randomise(changed.get_submodule(name))
            begin = end
            maps = explain(changed, images, targets)
            each = [rank_correlation(one, other) for one, other in zip(trained, maps, strict=True)]
            found.append(Stage(end, names[end - 1], float(np.mean(each))))
    return SanityCheck(tuple(found))


def rank_correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Spearman's rank correlation of two maps; 0 where one is the same everywhere, and so says nothing."""
    # slow to load, and needed here only
    from scipy.stats import rankdata

    ranks = [rankdata(each.ravel()) for each in (first, second)]
    ranks = [each - each.mean() for each in ranks]
    size = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    return 0.0 if size == 0 else float((ranks[0] * ranks[1]).sum() / size)


def _randomise(module: nn.Module) -> None:
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()
        return
    with torch.no_grad():
        for parameter in module.parameters(recurse=False):
            # A parameter of no known kind: as large as it was, knowing nothing.
            spread = parameter.std() if parameter.numel() > 1 else parameter.abs().mean()
            parameter.copy_(torch.randn_like(parameter) * spread)
