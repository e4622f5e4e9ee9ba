"""Steps that can be taken back."""

from __future__ import annotations

import numpy as np
import pytest

from voxlake.core.errors import GeometryError, ItemError
from voxlake.core.grid import Grid
from voxlake.core.step import Invertible, Step
from voxlake.core.volume import Volume
from voxlake.processing.crop import Crop
from voxlake.processing.crop_around import CropAround
from voxlake.processing.crop_foreground import CropForeground
from voxlake.processing.crop_or_pad import CropOrPad
from voxlake.processing.flip import Flip
from voxlake.processing.invert import Invert
from voxlake.processing.pad import Pad
from voxlake.processing.reorient import Reorient
from voxlake.processing.resample import Resample
from voxlake.processing.rescale import Rescale
from voxlake.processing.resize import Resize
from voxlake.processing.to_grid import ToGrid

GRID = Grid.from_vectors(
    (12, 15, 18),
    origin=(-20.0, 7.0, 100.0),
    slice_step=(0.1, 0.2, -2.0),
    row_step=(0, 1.2, 0.12),
    column_step=(-1.0, 0, 0.05),
    frame="2.25.3",
)
EXACT: list[Step] = [
    Reorient(orientation="RAS"),
    Reorient(orientation="PIR"),
    Flip(axes=("slice", "column")),
    Crop(shape=(5, 8, 9)),
    CropAround(start=(1, 2, 3), stop=(9, 9, 40)),
    CropForeground(threshold=250.0),
    Pad(shape=(13, 20, 18), fill=-5),
    CropOrPad(shape=(16, 9, 19), fill=7),
]
SMOOTH: list[Step] = [
    Resample(spacing=(1.0, 0.7, 0.6)),
    Resample(spacing=(1.5, 1.0, 1.0), order="cubic"),
    Resize(shape=(20, 30, 40)),
    Resize(shape=(20, 30, 40), filter="cubic", keep_aspect=True),
    ToGrid.of(GRID.reoriented("RAS").resampled((0.6, 0.8, 0.5)), order="cubic"),
]


def noise(seed: int = 0) -> Volume:
    data = np.random.default_rng(seed).integers(-300, 400, GRID.shape).astype(np.int16)
    return Volume(data, GRID, "HU", "CT")


def smooth() -> Volume:
    z, y, x = (
        np.linspace(-1, 1, n).reshape([-1 if a == b else 1 for b in range(3)])
        for a, n in enumerate(GRID.shape)
    )
    return Volume((100 * np.cos(2 * z + y) * np.exp(-x * x)).astype(np.float32), GRID, "HU", "CT")


@pytest.mark.parametrize("step", EXACT, ids=lambda step: f"{step.name}-{step.digest()[:4]}")
def test_exact(step: Step) -> None:
    volume = noise()
    done = step(volume)
    assert isinstance(step, Invertible)
    back = step.undo(done, volume)
    assert np.array_equal(back.numpy(), volume.numpy())
    assert back.dtype == volume.dtype
    assert back.grid.matches(volume.grid, tolerance=1e-9)
    assert back.lineage.steps == (step.tag, f"undo {step.tag}")


@pytest.mark.parametrize("step", SMOOTH, ids=lambda step: f"{step.name}-{step.digest()[:4]}")
def test_within_interpolation(step: Step) -> None:
    volume = smooth()
    assert isinstance(step, Invertible)
    back = step.undo(step(volume), volume.grid)
    assert back.grid == volume.grid
    inner = (slice(1, -1),) * 3
    # Going back to the coarser grid, linear steps smooth a range of 100 a second time; splines hardly do.
    allowed = 2.0 if "cubic" in step.model_dump().values() else 4.0
    assert np.abs(back.numpy() - volume.numpy())[inner].max() < allowed


def test_a_grid_gives_zeros_where_a_volume_gives_what_was_cut_away() -> None:
    volume, step = noise(), CropAround(start=(2, 3, 4), stop=(6, 7, 8))
    ones = step(volume)
    ones = ones.with_data(np.ones(ones.shape, np.uint8), step="a prediction")
    back = step.undo(ones, volume.grid).numpy()
    assert back.dtype == np.uint8
    assert back.sum() == 64
    assert back[2:6, 3:7, 4:8].all()
    pasted = step.undo(ones, volume).numpy()
    assert (pasted[2:6, 3:7, 4:8] == 1).all()
    assert np.array_equal(pasted[0], volume.numpy()[0])


def test_rescale() -> None:
    volume, step = noise(), Rescale(scale=-2.5, offset=10)
    back = step.undo(step(volume), volume)
    np.testing.assert_allclose(back.numpy(), volume.numpy(), atol=1e-3)
    assert back.unit == "HU"
    assert step.undo(step(volume), volume.grid).unit == "arbitrary"
    with pytest.raises(ItemError, match="scale of 0"):
        Rescale(scale=0.0).undo(volume, volume)


@pytest.mark.parametrize(
    "step", [*EXACT, *SMOOTH[:-1], Rescale(scale=2.0)], ids=lambda step: f"{step.name}-{step.digest()[:4]}"
)
def test_another_grid_is_refused(step: Step) -> None:
    done = step(noise())
    assert isinstance(step, Invertible)
    elsewhere = Grid.from_spacing((9, 9, 9), (1.7, 1.1, 0.9), frame="2.25.3")
    with pytest.raises(GeometryError, match="undo"):
        step.undo(done, elsewhere)


def test_not_every_step_has_an_inverse() -> None:
    assert not isinstance(Invert(), Invertible)


def test_flat() -> None:
    picture = Volume(np.arange(70, dtype=np.uint8).reshape(1, 7, 10), Grid.flat_image((7, 10)))
    for step in (Crop(shape=(3, 4)), Pad(shape=(9, 11)), Flip(axes=("row",)), Reorient(orientation="RAS")):
        assert np.array_equal(step.undo(step(picture), picture).numpy(), picture.numpy())
