"""Volumes and masks: an array on a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from voxlake.core.errors import GeometryError
from voxlake.core.grid import Grid

__all__ = ["ArrayLike3D", "Label", "Lineage", "Mask", "Unit", "Volume"]

Unit = Literal[
    "HU",
    "Bq/ml",
    "SUVbw",
    "SUVlbm(Janma)",
    "SUVlbm(James128)",
    "SUVbsa",
    "SUVibw",
    "fraction",
    "arbitrary",
    "normalised",
]


class ArrayLike3D(Protocol):
    """What a volume may hold: anything with a shape and a dtype that slices into NumPy arrays."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes."""
        ...

    @property
    def dtype(self) -> Any:
        """Type of the values."""
        ...

    def __getitem__(self, key: Any) -> Any: ...


@dataclass(frozen=True)
class Lineage:
    """What an array was made from.

    Parameters
    ----------
    inputs : tuple of str
        SHA-256 of the stored bytes of every instance that went in, in slice order.
    steps : tuple of str
        What was done, in order, as ``name@version`` or a sentence for a repair.
    """

    inputs: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()

    def then(self, step: str) -> Lineage:
        """The lineage after one more step."""
        return replace(self, steps=(*self.steps, step))


@dataclass(frozen=True, eq=False)
class Volume:
    """A scalar or RGB image in space.

    Parameters
    ----------
    data : array
        Shape (slices, rows, columns), or (slices, rows, columns, 3) for RGB. May be lazy (a Zarr array).
    grid : Grid
        Where the voxels lie.
    unit : str
        ``"HU"``, ``"Bq/ml"``, a kind of SUV (names as in PS3.16 context group 85), ``"fraction"`` (a share
        from 0 to 1), ``"arbitrary"`` (as stored, after the modality's rescale) or ``"normalised"``.
    modality : str or None
        Modality (0008,0060).
    lineage : Lineage
        Inputs and steps.
    conversions : mapping of str to float
        Unit -> factor that values have to be multiplied with to be in it; for PET the kinds of SUV. A
        volume in another unit has lost them.

    Raises
    ------
    GeometryError
        If the array does not have the grid's shape.
    """

    data: ArrayLike3D = field(repr=False)
    grid: Grid
    unit: Unit = "arbitrary"
    modality: str | None = None
    lineage: Lineage = field(default_factory=Lineage, repr=False)
    conversions: Mapping[Unit, float] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        shape = tuple(self.data.shape)
        if shape not in (self.grid.shape, (*self.grid.shape, 3)):
            raise GeometryError(
                f"a volume on a grid of {self.grid.shape} needs an array of that shape, "
                f"or with 3 more channels at the end; got {shape}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(self.data.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        dtype: np.dtype[Any] = np.dtype(self.data.dtype)
        return dtype

    @property
    def channels(self) -> int:
        """1 for scalar, 3 for RGB."""
        return 1 if len(self.data.shape) == 3 else int(self.data.shape[3])

    def numpy(self) -> NDArray[Any]:
        """The values in memory; a lazy array is read."""
        if isinstance(self.data, np.ndarray):
            return self.data
        return np.asarray(self.data[...])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def with_data(
        self, data: ArrayLike3D, *, step: str, grid: Grid | None = None, unit: Unit | None = None
    ) -> Volume:
        """The volume after a step: other values, perhaps on another grid or in another unit."""
        same = unit is None or unit == self.unit
        return replace(
            self,
            data=data,
            grid=self.grid if grid is None else grid,
            unit=self.unit if unit is None else unit,
            lineage=self.lineage.then(step),
            conversions=self.conversions if same else {},
        )

    def measured(self, unit: Unit, conversions: Mapping[Unit, float]) -> Volume:
        """The same values, with what is known about their unit."""
        return replace(self, unit=unit, conversions=dict(conversions))


@dataclass(frozen=True)
class Label:
    """A value of a mask and its meaning.

    `code` is a coded concept as ``(value, scheme)``, for example ``("10200004", "SCT")`` for the liver.
    """

    value: int
    name: str
    code: tuple[str, str] | None = None


@dataclass(frozen=True, eq=False)
class Mask:
    """Which voxels belong to what.

    Parameters
    ----------
    data : array of integers or bool
        Shape (slices, rows, columns); 0 is background.
    grid : Grid
        Where the voxels lie.
    labels : sequence of Label
        Meaning of the values above 0; values without a label are allowed.

    Raises
    ------
    GeometryError
        If the array has another shape or is not of integers.
    """

    data: ArrayLike3D = field(repr=False)
    grid: Grid
    labels: Sequence[Label] = ()
    lineage: Lineage = field(default_factory=Lineage, repr=False)

    def __post_init__(self) -> None:
        if tuple(self.data.shape) != self.grid.shape:
            raise GeometryError(
                f"a mask on a grid of {self.grid.shape} needs that shape, got {tuple(self.data.shape)}"
            )
        if np.dtype(self.data.dtype).kind not in "bui":
            raise GeometryError(f"a mask holds integers or bool, got {np.dtype(self.data.dtype)}")

    def numpy(self) -> NDArray[Any]:
        """The values in memory; a lazy array is read."""
        if isinstance(self.data, np.ndarray):
            return self.data
        return np.asarray(self.data[...])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.numpy(), dtype=dtype, copy=copy)
