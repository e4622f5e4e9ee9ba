"""Batches of samples that lie in memory, in a new order and with new random changes in every epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from voxlake.core.digest import digest_many
from voxlake.learning import augment
from voxlake.learning.batch import Batch
from voxlake.learning.data import Samples, batches, derived_seed, steps_of
from voxlake.learning.settings import AugmentationSettings, TrainingSettings

__all__ = ["SampleSource"]


@dataclass(frozen=True)
class SampleSource:
    """A `BatchSource` over samples.

    Images are changed at random as the augmentation says; every image of a sequence in the same way. Where
    the images are their own target, the target is the changed image before noise: with noise the network
    learns to take it away.

    Parameters
    ----------
    samples : Samples
        What is learned from.
    batch_size : int
        Most samples in a batch.
    augmentation : AugmentationSettings
        Random changes.
    seed : int
        Of order and changes.
    """

    samples: Samples
    batch_size: int
    augmentation: AugmentationSettings
    seed: int

    @classmethod
    def of(cls, samples: Samples, settings: TrainingSettings) -> SampleSource:
        """The source that training settings describe."""
        return cls(samples, settings.batch_size, settings.augmentation, settings.seed)

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return steps_of(len(self.samples), self.batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Batches of an epoch, 1 for the first."""
        order = torch.Generator().manual_seed(derived_seed(self.seed, "order", number))
        changes = torch.Generator().manual_seed(derived_seed(self.seed, "augmentation", number))
        for index in batches(len(self.samples), self.batch_size, order):
            images = self.samples.images[index]
            clean = images
            if self._changes:
                clean, images = self._changed(images, changes)
            others = tuple(tensor[index] for tensor in self.samples.inputs[1:])
            targets = clean if self.samples.reconstructs else self.samples.targets[index]
            yield Batch((images, *others), targets)

    def digest(self) -> str:
        """SHA-256 over samples, order and changes."""
        return digest_many(
            [self.samples.digest(), f"{self.batch_size}:{self.seed}", self.augmentation.digest()]
        )

    @property
    def _changes(self) -> bool:
        return self.augmentation != AugmentationSettings() and self.samples.images.ndim > 3

    def _changed(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The images changed without noise, and with it."""
        # A sequence is shown to the changes as one image with steps times channels.
        flat = images.flatten(1, 2) if self.samples.takes == "sequence" else images
        draws = augment.draw(self.augmentation, len(flat), flat.ndim - 2, generator)
        clean = augment.apply(draws, flat, noise=False)
        noisy = augment.add_noise(draws, clean) if draws.noise else clean
        return clean.reshape(images.shape), noisy.reshape(images.shape)
