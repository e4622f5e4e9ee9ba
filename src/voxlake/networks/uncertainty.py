"""How sure several networks are: ensembles of folds, symmetries, or dropout that goes on at prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from voxlake.core.errors import UsageError
from voxlake.core.volume import ArrayLike3D
from voxlake.networks.augmented import Activation, activated
from voxlake.networks.inference_runtime import Precision, inference
from voxlake.networks.runtimes import Engine
from voxlake.networks.tiled import iter_tiled
from voxlake.networks.tiling import Tiling

__all__ = [
    "Uncertainty",
    "dropout_answers",
    "ensemble_answers",
    "iter_uncertain",
    "uncertainty_of",
]

_DROPOUT = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """What several answers have in common, and how far they are apart.

    For each of N images, or for each voxel where answers are maps. Entropies are in nats.

    Parameters
    ----------
    mean : ndarray of float32, (N, K, ...)
        Mean probabilities.
    entropy : ndarray of float32, (N, ...)
        Of the mean, all doubt together: 0 where it is sure, ln K where all classes are alike. Of answers that
        do not exclude one another, the sum over them.
    mutual_information : ndarray of float32, (N, ...)
        Between answer and network, the part of `entropy` that comes from networks that disagree: 0 where all
        say the same, however unsure (Houlsby et al., 2011, arXiv:1112.5745; Gal, 2016).
    spread : ndarray of float32, (N, K, ...)
        Standard deviation of the probabilities over the answers (of the population).
    """

    mean: NDArray[np.float32]
    entropy: NDArray[np.float32]
    mutual_information: NDArray[np.float32]
    spread: NDArray[np.float32]


def uncertainty_of(
    answers: Sequence[NDArray[np.floating]] | NDArray[np.floating], *, exclusive: bool = True
) -> Uncertainty:
    """Mean, entropy, mutual information and spread of several answers.

    Parameters
    ----------
    answers : array or sequence of arrays
        Probabilities, (answers, N, K, ...).
    exclusive : bool
        Whether the classes exclude one another (softmax); False for several labels at a time (sigmoid).

    Raises
    ------
    UsageError
        There is no answer, or what is there are no probabilities.
    """
    if len(answers) == 0:
        raise UsageError("uncertainty needs at least one answer")
    first = np.asarray(answers[0], dtype=np.float64)
    if first.ndim < 2:
        raise UsageError(f"answers are (N, K, ...), got {first.shape}")
    mean, square = np.zeros_like(first), np.zeros_like(first)
    doubt = np.zeros((first.shape[0], *first.shape[2:]))
    for one in answers:
        probabilities = np.asarray(one, dtype=np.float64)
        if probabilities.min() < 0 or probabilities.max() > 1 + 1e-6:
            raise UsageError("answers must be probabilities from 0 to 1; apply softmax or sigmoid first")
        mean += probabilities
        # About the first answer, so that equal answers have a spread of exactly 0.
        square += (probabilities - first) ** 2
        doubt += _entropy(probabilities, exclusive=exclusive)
    count = len(answers)
    mean /= count
    entropy = _entropy(mean, exclusive=exclusive)
    variance = square / count - (mean - first) ** 2
    return Uncertainty(
        mean=mean.astype(np.float32),
        entropy=entropy.astype(np.float32),
        mutual_information=np.maximum(entropy - doubt / count, 0).astype(np.float32),
        spread=np.sqrt(np.maximum(variance, 0)).astype(np.float32),
    )


def ensemble_answers(
    networks: Sequence[nn.Module], *inputs: Tensor, activation: Activation = "softmax", batch_size: int = 64
) -> NDArray[np.float32]:
    """Probabilities of each network, (networks, N, K, ...); see `uncertainty_of`.

    Parameters
    ----------
    networks : sequence of torch.nn.Module
        In evaluation mode, for example one of each fold.
    *inputs : torch.Tensor
        What they are called with, batch first.
    activation : {"softmax", "sigmoid", "none"}
        What makes probabilities of their outputs.
    batch_size : int
        Samples at a time; bounds the memory.
    """
    if not networks:
        raise UsageError("an ensemble needs at least one network")
    return np.stack([_answers(network, inputs, activation, batch_size) for network in networks])


def dropout_answers(
    network: nn.Module,
    *inputs: Tensor,
    samples: int = 20,
    seed: int = 0,
    activation: Activation = "softmax",
    batch_size: int = 64,
) -> NDArray[np.float32]:
    """Probabilities of a network whose dropout goes on, (samples, N, K, ...).

    Gal and Ghahramani, 2016, arXiv:1506.02142. Everything else, batch normalisation too, stays in evaluation
    mode; the network is left as it was.

    Raises
    ------
    UsageError
        The network has no dropout that could change anything.
    """
    with _dropping(network), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return np.stack([_answers(network, inputs, activation, batch_size) for _ in range(samples)])


def iter_uncertain(
    networks: Sequence[nn.Module | Callable[[Tensor], Tensor]],
    values: ArrayLike3D,
    tiling: Tiling,
    *,
    activation: Activation = "softmax",
    precision: Precision = "auto",
    engine: Engine = "torch",
) -> Iterator[tuple[int, Uncertainty]]:
    """Uncertainty of every voxel of a volume, slab by slab, in bounded memory.

    Parameters
    ----------
    networks : sequence of torch.nn.Module
        As `voxlake.networks.tiled.iter_tiled` takes them.
    values, tiling, precision, engine
        See there.
    activation : {"softmax", "sigmoid", "none"}
        Applied to the blended outputs.

    Yields
    ------
    (int, Uncertainty)
        First slice, and figures of shape (1, [K,] slices, rows, columns).
    """
    if not networks:
        raise UsageError("an ensemble needs at least one network")
    runs = [iter_tiled(network, values, tiling, precision=precision, engine=engine) for network in networks]
    for slabs in zip(*runs, strict=True):
        answers = [activated(torch.from_numpy(slab)[None], activation).numpy() for _, slab in slabs]
        yield slabs[0][0], uncertainty_of(answers, exclusive=activation != "sigmoid")


def _answers(
    network: nn.Module, inputs: Sequence[Tensor], activation: Activation, batch_size: int
) -> NDArray[np.float32]:
    with inference():
        parts = [
            activated(network(*(each[start : start + batch_size] for each in inputs)), activation)
            for start in range(0, len(inputs[0]), batch_size)
        ]
        found: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
    return found


@contextmanager
def _dropping(network: nn.Module) -> Iterator[None]:
    drops = [module for module in network.modules() if isinstance(module, _DROPOUT) and module.p > 0]
    if not drops:
        raise UsageError(
            "the network has no dropout: every sample would be the same; take an ensemble of folds"
        )
    before = [module.training for module in drops]
    for module in drops:
        module.train()
    try:
        yield
    finally:
        for module, mode in zip(drops, before, strict=True):
            module.train(mode)


def _entropy(probabilities: NDArray[np.float64], *, exclusive: bool) -> NDArray[np.float64]:
    """In nats, over axis 1; with 0 ln 0 = 0."""
    found = _surprise(probabilities)
    return np.asarray((found if exclusive else found + _surprise(1 - probabilities)).sum(axis=1))


def _surprise(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    positive = np.where(probabilities > 0, probabilities, 1)
    return np.asarray(-positive * np.log(positive))
