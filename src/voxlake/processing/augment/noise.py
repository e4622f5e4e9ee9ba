"""Add noise, Gaussian or Rician."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from voxlake.core.grid import Grid
from voxlake.core.volume import Volume
from voxlake.engine.threads import allowed_threads
from voxlake.processing.augment.base import InPlace, RandomStep, Seed, SizeRange, draw_seed, uniform
from voxlake.processing.values import as_float32, single_precision

__all__ = ["Noise", "RandomNoise"]

Kind = Literal["gaussian", "rician"]
_BLOCK = 1 << 17
_THREADS = 2


class Noise(InPlace):
    """Add noise with independent voxels.

    ``"gaussian"`` adds n1; ``"rician"`` is the magnitude sqrt((value + n1)^2 + n2^2) of a complex signal with
    noise in both channels (Gudbjartsson and Patz, Magn Reson Med 34(6), 1995). n1 and n2 are normal with mean
    0, from NumPy's generator (its stream may change with the version of NumPy) seeded for each block of 2^17
    values, so that the number of threads does not matter. The grid and the unit stay; values are float32
    afterwards; NaN and infinities stay.

    Parameters
    ----------
    deviation : float
        Standard deviation of n1 and n2, in the unit of the volume.
    seed : int
        Of the generator.
    kind : str
        ``"gaussian"`` or ``"rician"``.
    """

    name: ClassVar[str] = "noise"
    version: ClassVar[int] = 1

    deviation: Annotated[float, Field(ge=0, le=1e30)]
    seed: Seed
    kind: Kind = "gaussian"

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        data = as_float32(volume, self.name)
        out = np.empty(data.shape, dtype=np.float32)
        values, results = np.ascontiguousarray(data).reshape(-1), out.reshape(-1)

        def work(block: tuple[int, slice]) -> None:
            number, part = block
            rng = np.random.Generator(np.random.SFC64([self.seed, number]))
            with single_precision(self.name):
                self._fill(values[part], results[part], rng)

        with ThreadPoolExecutor(min(_THREADS, allowed_threads())) as pool:
            list(pool.map(work, _blocks(values.size)))
        return volume.with_data(out, step=self.tag)

    def _fill(self, values: NDArray[np.float32], out: NDArray[np.float32], rng: np.random.Generator) -> None:
        rng.standard_normal(dtype=np.float32, out=out)
        out *= np.float32(self.deviation)
        out += values
        if self.kind == "rician":
            other = rng.standard_normal(out.size, dtype=np.float32)
            other *= np.float32(self.deviation)
            np.hypot(out, other, out=out)


class RandomNoise(RandomStep):
    """Draw the strength and the seed of noise: a `Noise`.

    Parameters
    ----------
    probability : float
        Share of draws in which the step is taken at all.
    deviation : range
        Standard deviation, in the unit of the volume (after ``zscore``: of the volume's own deviation).
    kind : str
        ``"gaussian"`` or ``"rician"``.
    """

    name: ClassVar[str] = "noise"
    version: ClassVar[int] = 1

    deviation: SizeRange = (0.0, 0.1)
    kind: Kind = "gaussian"

    def draw(self, rng: np.random.Generator, grid: Grid) -> Noise:
        """Draw a step; the grid does not matter."""
        del grid
        return Noise(deviation=uniform(rng, self.deviation), seed=draw_seed(rng), kind=self.kind)


def _blocks(size: int) -> Iterator[tuple[int, slice]]:
    for number, first in enumerate(range(0, size, _BLOCK)):
        yield number, slice(first, min(first + _BLOCK, size))
