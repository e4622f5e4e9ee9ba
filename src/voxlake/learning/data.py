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

__all__ = ["Samples", "batches", "derived_seed", "make_samples"]


@dataclass(frozen=True)
class Samples:
    """Images with what is known of them.

    Parameters
    ----------
    images : torch.Tensor
        float32 (N, C, H, W) or (N, C, D, H, W), finite.
    targets : torch.Tensor
        int64 (N,), index into the classes.
    classes : tuple of str
        Names of the classes, in the order of the outputs.
    groups : tuple of str
        What each sample must be kept together with, for example the patient.
    ids : tuple of str
        Which volume each sample is.

    Raises
    ------
    UsageError
        Lengths differ, a target is no class, or a value is not finite.
    """

    images: Tensor
    targets: Tensor
    classes: tuple[str, ...]
    groups: tuple[str, ...]
    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        lengths = {len(self.images), len(self.targets), len(self.groups), len(self.ids)}
        if len(lengths) != 1 or lengths == {0}:
            raise UsageError(f"images, targets, groups and ids must be equally many, got {sorted(lengths)}")
        if self.images.ndim not in (4, 5) or self.images.dtype != torch.float32:
            raise UsageError(
                "images must be float32 (N, C, H, W) or (N, C, D, H, W), "
                f"got {self.images.dtype} {tuple(self.images.shape)}"
            )
        if int(self.targets.min()) < 0 or int(self.targets.max()) >= len(self.classes):
            raise UsageError(f"targets must lie in 0..{len(self.classes) - 1}, the index of a class")
        if not bool(torch.isfinite(self.images).all()):
            raise UsageError("images hold values that are not finite; look at the plan that prepared them")

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of one image: (H, W) or (D, H, W)."""
        return tuple(self.images.shape[2:])

    @property
    def channels(self) -> int:
        """Channels of one image."""
        return int(self.images.shape[1])

    def take(self, index: Sequence[int] | npt.NDArray[np.integer]) -> Samples:
        """The samples at the given positions, in that order."""
        chosen = torch.as_tensor(np.asarray(index, dtype=np.int64))
        return Samples(
            images=self.images[chosen],
            targets=self.targets[chosen],
            classes=self.classes,
            groups=tuple(self.groups[position] for position in chosen.tolist()),
            ids=tuple(self.ids[position] for position in chosen.tolist()),
        )

    def digest(self) -> str:
        """SHA-256 over images, targets, classes and ids."""
        state = hashlib.sha256()
        state.update(repr((tuple(self.images.shape), self.classes, self.ids)).encode())
        state.update(self.images.contiguous().numpy().data)
        state.update(self.targets.contiguous().numpy().data)
        return state.hexdigest()


def make_samples(
    images: npt.NDArray[np.generic],
    labels: Sequence[str],
    *,
    classes: Sequence[str],
    groups: Sequence[str],
    ids: Sequence[str],
) -> Samples:
    """Samples from arrays.

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
        images=torch.from_numpy(values),
        targets=torch.tensor([position[label] for label in labels], dtype=torch.int64),
        classes=tuple(classes),
        groups=tuple(groups),
        ids=tuple(ids),
    )


def batches(count: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Positions of the samples in random order, each once, in batches of equal size, give or take one.

    Equal sizes, since a last batch of one or two samples has no statistics to normalise by.
    """
    order = torch.randperm(count, generator=generator)
    yield from torch.tensor_split(order, -(-count // batch_size))
