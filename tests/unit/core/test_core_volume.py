"""Volumes, masks and lineage."""

from __future__ import annotations

import numpy as np
import pytest

from voxlake.core.errors import GeometryError
from voxlake.core.grid import Grid
from voxlake.core.volume import Label, Lineage, Mask, Volume

GRID = Grid.from_spacing((2, 3, 4), (5, 1, 1))


class Lazy:
    """An array that is only there once it is sliced."""

    def __init__(self, data: np.ndarray) -> None:
        self._data, self.reads = data, 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def dtype(self) -> np.dtype:
        return self._data.dtype

    def __getitem__(self, key: object) -> np.ndarray:
        self.reads += 1
        return self._data[key]


def test_scalar_and_colour() -> None:
    scalar = Volume(np.zeros((2, 3, 4), np.int16), GRID, "HU")
    assert (scalar.shape, scalar.dtype, scalar.channels) == ((2, 3, 4), np.int16, 1)
    colour = Volume(np.zeros((2, 3, 4, 3), np.uint8), GRID)
    assert (colour.channels, colour.unit, colour.modality) == (3, "arbitrary", None)


@pytest.mark.parametrize("shape", [(3, 4), (2, 4, 3), (2, 3, 4, 1), (2, 3, 4, 4), (1, 2, 3, 4), ()])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(GeometryError, match=r"grid of \(2, 3, 4\)"):
        Volume(np.zeros(shape), GRID)


def test_lazy_data_is_read_when_asked() -> None:
    lazy = Lazy(np.arange(24).reshape(2, 3, 4))
    volume = Volume(lazy, GRID)
    assert (volume.shape, lazy.reads) == ((2, 3, 4), 0)
    assert volume.numpy()[1, 2, 3] == 23
    assert lazy.reads == 1
    assert Mask(lazy, GRID).numpy()[0, 0, 1] == 1


def test_becomes_numpy() -> None:
    data = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    volume = Volume(data, GRID)
    assert volume.numpy() is data
    assert np.asarray(volume, dtype=np.float32).dtype == np.float32
    assert not np.shares_memory(np.array(volume, copy=True), data)
    assert np.shares_memory(np.asarray(volume), data)
    assert np.asarray(Mask(data, GRID)).sum() == data.sum()


def test_with_data_keeps_what_is_not_named() -> None:
    volume = Volume(np.zeros((2, 3, 4)), GRID, "HU", "CT", Lineage(("a",), ("read",)))
    done = volume.with_data(np.ones((1, 3, 4)), step="cut@1", grid=GRID.crop((0, 0, 0), (1, 3, 4)))
    assert (done.unit, done.modality) == ("HU", "CT")
    assert done.lineage == Lineage(("a",), ("read", "cut@1"))
    assert volume.lineage.steps == ("read",)
    assert done.with_data(done.data, step="window@1", unit="normalised").unit == "normalised"
    with pytest.raises(GeometryError):
        volume.with_data(np.ones((1, 3, 4)), step="cut@1")


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32])
def test_masks_hold_whole_numbers(dtype: type) -> None:
    liver = Label(1, "liver", ("10200004", "SCT"))
    mask = Mask(np.ones((2, 3, 4), dtype), GRID, (liver,))
    assert mask.numpy().sum() == 24
    assert mask.labels[0].code == ("10200004", "SCT")


def test_masks_refuse_the_rest() -> None:
    with pytest.raises(GeometryError, match="integers or bool, got float32"):
        Mask(np.ones((2, 3, 4), np.float32), GRID)
    with pytest.raises(GeometryError, match="needs that shape"):
        Mask(np.ones((2, 3, 4, 3), np.uint8), GRID)
