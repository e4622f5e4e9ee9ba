"""Samples in memory, and the order in which they are shown.

Tensors that fit into memory need no loader processes: indexing them by a permuted index is faster.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from voxlake.core.errors import UsageError
from voxlake.learning.seeds import derived_seed
from voxlake.networks.registry import Takes

__all__ = ["Samples", "batches", "derived_seed", "make_samples", "no_targets", "steps_of"]

_INPUTS = {"image": 1, "sequence": 2, "table": 1, "image and table": 2}


@dataclass(frozen=True)
class Samples:
    """What a network is shown, with what is known of it.

    Parameters
    ----------
    inputs : tuple of torch.Tensor
        What the network is called with, in its order, the sample first: images float32 (N, C, [D,] H, W);
        sequences float32 (N, T, C, [D,] H, W) or (N, T, F) and their lengths int64 (N,); tables float32
        (N, F); images and a table. All values finite.
    targets : torch.Tensor
        int64 (N,), index into the classes; float32 (N, K), 1 or 0 for each label and NaN where it is not
        known; float32 (N,), numbers; float32 (N, 0) where the images themselves are the target.
    classes : tuple of str
        Names of the classes or labels, in the order of the outputs; empty where there are none.
    groups : tuple of str
        What each sample must be kept together with, for example the patient.
    ids : tuple of str
        Which volume each sample is.
    takes : {"image", "sequence", "table", "image and table"}
        What the inputs are.

    Raises
    ------
    UsageError
        Lengths differ, a target is no class, or a value is not finite.
    """

    inputs: tuple[Tensor, ...]
    targets: Tensor
    classes: tuple[str, ...]
    groups: tuple[str, ...]
    ids: tuple[str, ...]
    takes: Takes = "image"

    def __post_init__(self) -> None:
        if len(self.inputs) != _INPUTS[self.takes]:
            raise UsageError(
                f"a network that takes {self.takes} has {_INPUTS[self.takes]} inputs, got {len(self.inputs)}"
            )
        lengths = {len(self.targets), len(self.groups), len(self.ids), *(len(one) for one in self.inputs)}
        if len(lengths) != 1 or lengths == {0}:
            raise UsageError(f"inputs, targets, groups and ids must be equally many, got {sorted(lengths)}")
        _check_inputs(self.inputs, self.takes)
        _check_targets(self.targets, self.classes)

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def images(self) -> Tensor:
        """The first input."""
        return self.inputs[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of one sample as `build` takes it: (H, W) or (D, H, W), (T, [D,] H, W), (T,), or (F,)."""
        sizes = tuple(self.images.shape)
        if self.takes == "sequence":
            return (sizes[1], *sizes[3:])
        return sizes[1:] if self.takes == "table" else sizes[2:]

    @property
    def channels(self) -> int:
        """Channels of one sample as `build` takes them; of tables and sequences of vectors the numbers, F."""
        return int(self.images.shape[2 if self.takes == "sequence" else 1])

    @property
    def reconstructs(self) -> bool:
        """Whether the images themselves are the target."""
        return self.targets.ndim == 2 and self.targets.shape[1] == 0

    def take(self, index: Sequence[int] | npt.NDArray[np.integer]) -> Samples:
        """The samples at the given positions, in that order."""
        chosen = torch.as_tensor(np.asarray(index, dtype=np.int64))
        return Samples(
            inputs=tuple(tensor[chosen] for tensor in self.inputs),
            targets=self.targets[chosen],
            classes=self.classes,
            groups=tuple(self.groups[position] for position in chosen.tolist()),
            ids=tuple(self.ids[position] for position in chosen.tolist()),
            takes=self.takes,
        )

    def digest(self) -> str:
        """SHA-256 over inputs, targets, classes and ids."""
        state = hashlib.sha256()
        shapes = [tuple(tensor.shape) for tensor in self.inputs]
        state.update(repr((shapes, self.takes, self.classes, self.ids)).encode())
        for tensor in (*self.inputs, self.targets):
            state.update(tensor.contiguous().numpy().data)
        return state.hexdigest()


def make_samples(
    images: npt.NDArray[np.generic],
    labels: Sequence[str],
    *,
    classes: Sequence[str],
    groups: Sequence[str],
    ids: Sequence[str],
) -> Samples:
    """Samples of images in classes from arrays.

    Parameters
    ----------
    images : numpy.ndarray
        (N, H, W) or (N, D, H, W), one channel.
    labels : sequence of str
        Class of each image.
    classes : sequence of str
        Names of the classes, in the order of the outputs.
    groups, ids : sequence of str
        Group and identifier of each image.

    Raises
    ------
    UsageError
        A label is none of the classes, or see `Samples`.
    """
    position = {name: number for number, name in enumerate(classes)}
    unknown = sorted(set(labels) - set(position))
    if unknown:
        raise UsageError(f"label '{unknown[0]}' is none of the classes {list(classes)}")
    values = np.ascontiguousarray(images, dtype=np.float32)[:, None]
    return Samples(
        inputs=(torch.from_numpy(values),),
        targets=torch.tensor([position[label] for label in labels], dtype=torch.int64),
        classes=tuple(classes),
        groups=tuple(groups),
        ids=tuple(ids),
    )


def no_targets(count: int) -> Tensor:
    """Targets of images that are their own target: float32 (count, 0)."""
    return torch.empty((count, 0), dtype=torch.float32)


def batches(count: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Positions of the samples in random order, each once, in batches of equal size, give or take one.

    Equal sizes, since a last batch of one or two samples has no statistics to normalise by.
    """
    order = torch.randperm(count, generator=generator)
    yield from torch.tensor_split(order, steps_of(count, batch_size))


def steps_of(count: int, batch_size: int) -> int:
    """How many batches of at most ``batch_size`` samples an epoch has."""
    return -(-count // batch_size)


def _check_inputs(inputs: tuple[Tensor, ...], takes: Takes) -> None:
    axes = {"sequence": (3, 5, 6), "table": (2,)}.get(takes, (4, 5))
    first = inputs[0]
    if first.ndim not in axes or first.dtype != torch.float32:
        wanted = {
            "sequence": "sequences must be float32 (N, T, C, H, W), (N, T, C, D, H, W) or (N, T, F)",
            "table": "tables must be float32 (N, F)",
        }.get(takes, "images must be float32 (N, C, H, W) or (N, C, D, H, W)")
        raise UsageError(f"{wanted}, got {first.dtype} {tuple(first.shape)}")
    if takes == "sequence":
        lengths = inputs[1]
        if lengths.dtype != torch.int64 or int(lengths.min()) < 1 or int(lengths.max()) > first.shape[1]:
            raise UsageError(f"lengths of sequences must be int64 in 1..{first.shape[1]}")
    if takes == "image and table" and (inputs[1].ndim != 2 or inputs[1].dtype != torch.float32):
        raise UsageError(f"tables must be float32 (N, F), got {inputs[1].dtype} {tuple(inputs[1].shape)}")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in inputs):
        raise UsageError("images hold values that are not finite; look at the plan that prepared them")


def _check_targets(targets: Tensor, classes: tuple[str, ...]) -> None:
    if targets.dtype == torch.int64 and targets.ndim == 1:
        if int(targets.min()) < 0 or int(targets.max()) >= len(classes):
            raise UsageError(f"targets must lie in 0..{len(classes) - 1}, the index of a class")
    elif targets.dtype != torch.float32 or targets.ndim not in (1, 2):
        raise UsageError(
            "targets must be int64 (N,), float32 (N,) or float32 (N, labels), "
            f"got {targets.dtype} {tuple(targets.shape)}"
        )
    elif targets.ndim == 1 and not bool(torch.isfinite(targets).all()):
        raise UsageError("numbers to be predicted must be finite; leave out samples without one")
    elif targets.ndim == 2 and targets.shape[1] not in (0, len(classes)):
        raise UsageError(f"targets have {targets.shape[1]} labels, {len(classes)} are named")
