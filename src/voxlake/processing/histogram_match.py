"""Give a volume the histogram of others."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, field_validator

from voxlake.core.errors import SettingsError
from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.quantiles import map_values, quantiles
from voxlake.processing.sizes import Value
from voxlake.processing.values import Region, as_float32, single_precision

__all__ = ["HistogramMatch", "fit_histogram_match"]


class HistogramMatch(Step):
    """Map values so that their quantiles become those of a reference (histogram specification).

    The quantiles of the volume at evenly spaced percentages are sent to those of the reference, linearly in
    between (Gonzalez and Woods, Digital Image Processing, 3.3.2, with interpolated instead of stepwise
    cumulative histograms). Values beyond the voxels that `over` selects follow the overall slope, so that
    background keeps its distance. `fit_histogram_match` takes the quantiles from reference volumes. The grid
    stays; values are float32 and the unit is "arbitrary" afterwards. NaN and infinities do not count in the
    quantiles and stay.

    Parameters
    ----------
    values : list of float
        Quantiles of the reference, smallest to largest, at evenly spaced percentages from 0 to 100.
    over : str, float or box
        Voxels whose quantiles count: ``"all"``, ``"nonzero"``, ``"above_mean"``, those above a number in the
        unit of the volume, or those in a box ``{start = [...], stop = [...]}`` in voxels.

    Raises
    ------
    ItemError
        ``step_failed``: no finite voxel is selected.
    """

    name: ClassVar[str] = "histogram_match"
    version: ClassVar[int] = 1

    values: Annotated[tuple[Value, ...], Field(min_length=2)]
    over: Region = "all"

    @field_validator("values")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(low > high for low, high in pairwise(value)):
            raise ValueError("quantiles must not fall")
        return value

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        data = as_float32(volume, self.name)
        percents = np.linspace(0, 100, len(self.values))
        have = quantiles(data, percents.tolist(), self.over, self.name)
        with single_precision(self.name):
            out = map_values(data, have, np.asarray(self.values), overall=True)
        return volume.with_data(out, step=self.tag, unit="arbitrary")


def fit_histogram_match(
    volumes: Iterable[Volume], *, levels: int = 257, over: Region = "all"
) -> HistogramMatch:
    """The step that gives volumes the mean quantiles of reference volumes.

    Parameters
    ----------
    volumes : iterable of Volume
        One or more; they are taken one at a time.
    levels : int
        Quantiles, from the smallest to the largest value.
    over : str, float or box
        As in `HistogramMatch`, for the references and for what is matched.

    Raises
    ------
    SettingsError
        No volume, or fewer than 2 levels.
    """
    if levels < 2:
        raise SettingsError(f"histogram matching needs at least 2 levels, got {levels}")
    percents = np.linspace(0, 100, levels).tolist()
    name = HistogramMatch.name
    found = [quantiles(as_float32(volume, name), percents, over, name) for volume in volumes]
    if not found:
        raise SettingsError("histogram matching needs at least one reference volume")
    # Sorted, for rounding of a mean may make it fall by a hair.
    return HistogramMatch(values=tuple(np.sort(np.mean(found, axis=0)).tolist()), over=over)
