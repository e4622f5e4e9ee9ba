"""Patches of volumes with masks: where they lie is drawn and recorded, then they are read and changed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voxlake.core.digest import digest_many
from voxlake.core.errors import UsageError
from voxlake.learning.batch import Batch
from voxlake.learning.seeds import derived_seed
from voxlake.learning.segmentation.apply_changes import apply_changes
from voxlake.learning.segmentation.cases import Case, Cases
from voxlake.learning.segmentation.changes import Changes, draw_changes
from voxlake.learning.segmentation.settings import IGNORE, Beyond, SegmentationSettings

__all__ = ["PatchDraws", "PatchSource", "read_patch"]

Start = tuple[int, ...]

# Of the extent of a patch, so much around it is read where patches are turned: up to about 20 degrees, what
# is turned in was there.
_MARGIN = 0.15
# Batches that are made at the same time, each by a thread of its own: most of their work holds no lock.
_AHEAD = 2


@dataclass(frozen=True)
class PatchDraws:
    """What was drawn for one batch.

    Parameters
    ----------
    cases : tuple of int
        Position of the case of each patch.
    starts : tuple of tuple of int
        First voxel of each patch, along slice, row, column; negative where the volume is padded.
    changes : Changes
        Random changes.
    """

    cases: tuple[int, ...]
    starts: tuple[Start, ...]
    changes: Changes

    def record(self) -> dict[str, Any]:
        """Plain values that JSON holds; see `read`."""
        return {
            "cases": list(self.cases),
            "starts": [list(start) for start in self.starts],
            "changes": self.changes.record(),
        }

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> PatchDraws:
        """What `record` wrote."""
        return cls(
            tuple(int(place) for place in record["cases"]),
            tuple(tuple(int(value) for value in start) for start in record["starts"]),
            Changes.read(record["changes"]),
        )


class PatchSource:
    """A `BatchSource` of patches of volumes with masks.

    Every case gives its share of the patches of an epoch, in random order. A share of the patches shows a
    voxel of a class that is drawn first, so that small structures are seen as often as large ones; the others
    lie anywhere. A volume smaller than a patch lies anywhere in it; what is beyond repeats its edge, and does
    not count.

    Parameters
    ----------
    cases : Cases
        What is learned from.
    settings : SegmentationSettings
        Patches and their changes.
    batch_size : int
        Patches of a step; the last step of an epoch is filled up.
    seed : int
        Of places, order and changes.

    Raises
    ------
    UsageError
        The patch does not have the axes of the cases.
    """

    def __init__(self, cases: Cases, settings: SegmentationSettings, *, batch_size: int, seed: int) -> None:
        self.cases = cases
        self.settings = settings
        self.batch_size = batch_size
        self.seed = seed
        self.size = settings.patch or cases.extent(settings.multiple)
        if len(self.size) != cases.dimensions:
            raise UsageError(f"patch = {self.size} does not fit cases of {cases.dimensions} axes")

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return max(1, round(len(self.cases) * self.settings.per_volume / self.batch_size))

    def epoch(self, number: int) -> Iterator[Batch]:
        """Batches of an epoch, 1 for the first; the next ones are made while one is learned from."""
        with ThreadPoolExecutor(_AHEAD, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            waiting: deque[Future[Batch]] = deque()
            try:
                for draws in self.draws(number):
                    waiting.append(pool.submit(self.batch, draws))
                    if len(waiting) > _AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for each in waiting:
                    each.cancel()

    def draws(self, number: int) -> Iterator[PatchDraws]:
        """What is drawn for the batches of an epoch; nothing is read."""
        rng = np.random.default_rng(derived_seed(self.seed, "patches", number))
        needed = self.steps * self.batch_size
        rounds = -(-needed // len(self.cases))
        order = np.concatenate([rng.permutation(len(self.cases)) for _ in range(rounds)])[:needed]
        for chosen in np.split(order, self.steps):
            starts = tuple(self._start(int(place), rng) for place in chosen)
            changes = draw_changes(self.settings.augmentation, len(chosen), self.cases.dimensions, rng)
            yield PatchDraws(tuple(int(place) for place in chosen), starts, changes)

    def batch(self, draws: PatchDraws) -> Batch:
        """Read and change the patches that were drawn: the same draws give the same batch."""
        size = self.size
        margin = tuple(int(extent * _MARGIN) for extent in size)
        images, labels = [], []
        items = [self.cases.items[place] for place in draws.cases]
        for case, start, moved in zip(items, draws.starts, draws.changes.moved.tolist(), strict=True):
            around = margin if moved else (0,) * len(size)
            first = tuple(begin - beside for begin, beside in zip(start, around, strict=True))
            wide = tuple(extent + 2 * beside for extent, beside in zip(size, around, strict=True))
            values, classes = read_patch(case, first, wide, beyond=self.settings.beyond)
            images.append(values)
            labels.append(classes)
        changed, masks = apply_changes(
            draws.changes,
            images,
            labels,
            size=size,
            spacing=torch.tensor([case.spacing[3 - len(size) :] for case in items], dtype=torch.float32),
            classes=len(self.cases.classes) + 1 if self.settings.augmentation.labels == "linear" else None,
        )
        return Batch((_channels_last(changed),), masks)

    def digest(self) -> str:
        """SHA-256 over cases, settings, size of the batches and seed."""
        return digest_many([self.cases.digest(), self.settings.digest(), f"{self.batch_size}:{self.seed}"])

    def _start(self, position: int, rng: np.random.Generator) -> Start:
        shape = self.cases.items[position].shape[3 - len(self.size) :]
        # As many numbers are drawn whatever is chosen, so that one choice does not move all that follow.
        shows, kind, which, *where = rng.random(3 + len(self.size)).tolist()
        there = [places for places in self.cases.places(position) if len(places)]
        if shows < self.settings.foreground and there:
            places = there[int(kind * len(there))]
            voxel = np.unravel_index(int(places[int(which * len(places))]), shape)
            return tuple(
                _clipped(int(at) - extent // 2, extent, sizes)
                for at, extent, sizes in zip(voxel, self.size, shape, strict=True)
            )
        return tuple(
            min(0, sizes - extent) + int(share * (abs(sizes - extent) + 1))
            for share, extent, sizes in zip(where, self.size, shape, strict=True)
        )


def read_patch(
    case: Case, start: Start, size: tuple[int, ...], *, beyond: Beyond = "unknown"
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Read one patch; it may reach beyond the volume.

    Parameters
    ----------
    case : Case
        Of which volume.
    start, size : tuple of int
        First voxel and extent: (slice, row, column), or (row, column) of a single image.
    beyond : {"unknown", "background"}
        What lies beyond the volume.

    Returns
    -------
    values : numpy.ndarray
        float32 (channels, *size); beyond the volume its edge is repeated, background is as dark as the
        darkest voxel that was read.
    labels : numpy.ndarray
        uint8 (*size); beyond the volume `IGNORE`, or 0. Both may be views of the case: do not write to them.
    """
    flat = len(size) == 2
    begin, extent = ((0, *start), (1, *size)) if flat else (start, size)
    inside, pads, apart = [], [], False
    for first, wide, there in zip(begin, extent, case.shape, strict=True):
        low = min(max(first, 0), there - 1)
        high = max(min(first + wide, there), low + 1)
        before = min(max(low - first, 0), wide - (high - low))
        inside.append(slice(low, high))
        pads.append((before, wide - (high - low) - before))
        apart = apart or first >= there or first + wide <= 0
    box = tuple(inside)
    values, labels = _channels_first(np.asarray(case.values)[box]), np.asarray(case.labels)[box]
    outside = IGNORE if beyond == "unknown" else 0
    if apart:
        labels = np.full_like(labels, outside)
    if any(side for pad in pads for side in pad):
        if beyond == "unknown":
            values = np.pad(values, ((0, 0), *pads), mode="edge")
        else:
            values = np.pad(values, ((0, 0), *pads), constant_values=values.min())
        labels = np.pad(labels, pads, constant_values=outside)
    return (values[:, 0], labels[0]) if flat else (values, labels)


def _clipped(start: int, extent: int, size: int) -> int:
    """The nearest start with which a patch covers as much of an axis as it can."""
    return min(max(start, min(0, size - extent)), max(0, size - extent))


def _channels_first(values: NDArray[Any]) -> NDArray[np.float32]:
    """float32 (channels, slices, rows, columns), without a copy where it already is."""
    first = values[None] if values.ndim == 3 else np.moveaxis(values, -1, 0)
    return first.astype(np.float32, copy=False)


def _channels_last(images: Tensor) -> Tensor:
    layout = torch.channels_last if images.ndim == 4 else torch.channels_last_3d
    return images.contiguous(memory_format=layout)
