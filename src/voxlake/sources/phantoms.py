"""Phantoms: made-up chest CT series with and without lung nodules, for demos, tests and first steps.

Nothing here is from a patient. Files are made when they are read, in the worker.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field, PositiveFloat, model_validator

from voxlake.core.errors import ItemError
from voxlake.core.settings import Settings
from voxlake.sources.item import Hints
from voxlake.sources.scanner import SeriesKey

__all__ = ["LABEL", "PhantomItem", "Phantoms"]

LABEL = "nodule"
_BLOCK = 10

Share = Annotated[float, Field(ge=0, le=1)]
Size = Annotated[int, Field(ge=8, le=1024)]


@dataclass(frozen=True, slots=True)
class PhantomItem:
    """One slice of a phantom; its bytes are made when it is read."""

    name: str
    key: SeriesKey
    number: int
    hints: Hints
    size: int | None = None
    ignored: str | None = None

    def read(self, limit: int) -> bytes:
        """The DICOM file; see `voxlake.sources.item.Item.read`."""
        # pydicom is only needed in the worker.
        from voxlake.sources.phantom_files import phantom_file

        data = phantom_file(self.key, self.number)
        if len(data) > limit:
            raise ItemError("too_large", f"{len(data):,} bytes, the limit is {limit:,}")
        return data


class Phantoms(Settings):
    """A source of synthetic, labelled CT series.

    Patients are told apart by the label ``nodule`` (``present`` or ``absent``). The same seed and patient
    give the same bytes, whatever the number of patients, so a source can be made larger later on (with
    `balanced`, the patients of the last, incomplete block of ten may change their label).

    Parameters
    ----------
    patients : int
        Number of patients.
    seed : int
        Another seed gives other patients.
    nodule_fraction : float
        Share of patients with nodules.
    balanced : bool
        The share holds exactly (rounded), and in each block of ten patients; else each patient has it by
        chance.
    slices, rows, columns : int
        Size of a series.
    second_study : float
        Share of patients who come back after half a year, perhaps to another scanner.
    smallest, largest : float
        Mean radius of nodules in mm. With 6 to 12 mm (voxels have 4 to 5 mm), a network of three blocks
        learns the task from 120 patients; with 4 to 10 mm it needs more.
    fewest, most : int
        Number of nodules of a patient who has any.
    noise : float
        Factor on the noise of the scanners.
    """

    patients: Annotated[int, Field(ge=1, le=10_000_000)] = 40
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    nodule_fraction: Share = 0.5
    balanced: bool = True
    slices: Size = 32
    rows: Size = 64
    columns: Size = 64
    second_study: Share = 0.2
    smallest: PositiveFloat = 6.0
    largest: Annotated[float, Field(gt=0, le=15)] = 12.0
    fewest: Annotated[int, Field(ge=1, le=20)] = 1
    most: Annotated[int, Field(ge=1, le=20)] = 2
    noise: Annotated[float, Field(ge=0, le=100)] = 1.0

    @model_validator(mode="after")
    def _check_radii(self) -> Phantoms:
        if self.smallest > self.largest:
            raise ValueError(f"smallest ({self.smallest:g}) is above largest ({self.largest:g})")
        if self.fewest > self.most:
            raise ValueError(f"fewest ({self.fewest}) is above most ({self.most})")
        return self

    @property
    def labels_digest(self) -> str | None:
        """Digest of the settings."""
        return self.digest()

    # Any, since the base class iterates its fields; a source iterates its items.
    def __iter__(self) -> Any:
        """Iterate `PhantomItem`, patient by patient, study by study, slice by slice."""
        return self._items()

    def _items(self) -> Iterator[PhantomItem]:
        shape = (self.slices, self.rows, self.columns)
        radius = (self.smallest, self.largest)
        count = (self.fewest, self.most)
        for patient, nodule in enumerate(self._nodules()):
            hints = Hints(labels=((LABEL, "present" if nodule else "absent"),))
            for study in range(1, 2 + self._comes_back(patient)):
                key = SeriesKey(self.seed, patient, study, nodule, shape, radius, self.noise, count)
                for number in range(1, self.slices + 1):
                    name = f"patient-{patient:05d}/study-{study}/slice-{number:04d}.dcm"
                    yield PhantomItem(name, key, number, hints)

    def _comes_back(self, patient: int) -> bool:
        return bool(np.random.default_rng((self.seed, patient, 6)).random() < self.second_study)

    def _nodules(self) -> Iterator[bool]:
        """Who has nodules, patient by patient."""
        if not self.balanced:
            for patient in range(self.patients):
                yield bool(np.random.default_rng((self.seed, patient, 7)).random() < self.nodule_fraction)
            return
        for first in range(0, self.patients, _BLOCK):
            last = min(first + _BLOCK, self.patients)
            with_nodule = round(last * self.nodule_fraction) - round(first * self.nodule_fraction)
            order = np.random.default_rng((self.seed, first, 8)).permutation(last - first)
            yield from (bool(rank < with_nodule) for rank in order)
