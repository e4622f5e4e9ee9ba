"""Standardise MR intensities by landmarks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from voxlake.core.errors import ItemError, SettingsError
from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.quantiles import map_values, quantiles
from voxlake.processing.sizes import Value
from voxlake.processing.values import Region, as_float32, single_precision

__all__ = ["NyulStandardise", "fit_nyul"]

# Shah et al. 2011: deciles, and ends that leave a percent of outliers aside.
_PERCENTS = (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 99.0)
Percent = Annotated[float, Field(ge=0, le=100)]


class NyulStandardise(Step):
    """Map the percentiles of a volume to landmarks of a standard scale, linearly in between.

    MR intensities have no unit of their own: the same tissue differs between scanners and sequences. After
    Nyul and Udupa, On standardizing the MR image intensity scale, Magn Reson Med 42 (1999), with deciles as
    in Shah et al., Med Image Anal 15 (2011). Beyond the outermost landmarks the outermost pieces go on.
    `fit_nyul` learns the landmarks from volumes. The grid stays; values are float32 and the unit is
    "normalised" afterwards. NaN and infinities do not count in the percentiles and stay.

    Parameters
    ----------
    landmarks : list of float
        Values on the standard scale, rising.
    percents : list of float
        Which percentiles they belong to, 0 to 100, rising.
    over : str, float or box
        Voxels whose percentiles count: ``"above_mean"`` (the foreground of the paper), ``"all"``,
        ``"nonzero"``, those above a number in the unit of the volume, or those in a box
        ``{start = [...], stop = [...]}`` in voxels.

    Raises
    ------
    ItemError
        ``step_failed``: no finite voxel is selected.
    """

    name: ClassVar[str] = "nyul"
    version: ClassVar[int] = 1

    landmarks: Annotated[tuple[Value, ...], Field(min_length=2)]
    percents: Annotated[tuple[Percent, ...], Field(min_length=2)] = _PERCENTS
    over: Region = "above_mean"

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if len(self.landmarks) != len(self.percents):
            raise ValueError(f"{len(self.landmarks)} landmarks do not fit {len(self.percents)} percentiles")
        for values in (self.landmarks, self.percents):
            if any(low >= high for low, high in pairwise(values)):
                raise ValueError("landmarks and percentiles must rise")
        return self

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        data = as_float32(volume, self.name)
        have = quantiles(data, self.percents, self.over, self.name)
        with single_precision(self.name):
            out = map_values(data, have, np.asarray(self.landmarks), overall=False)
        return volume.with_data(out, step=self.tag, unit="normalised")


def fit_nyul(
    volumes: Iterable[Volume],
    *,
    percents: Sequence[float] = _PERCENTS,
    over: Region = "above_mean",
    low: float = 0.0,
    high: float = 100.0,
) -> NyulStandardise:
    """Learn the landmarks: each volume's percentiles on a scale from `low` to `high`, and their mean.

    Parameters
    ----------
    volumes : iterable of Volume
        Of one kind of image; they are taken one at a time.
    percents : sequence of float
        Which percentiles become landmarks.
    over : str, float or box
        As in `NyulStandardise`.
    low, high : float
        Where the first and the last percentile lie on the standard scale.

    Raises
    ------
    SettingsError
        No volume, or settings that `NyulStandardise` refuses.
    ItemError
        ``step_failed``: a volume's first and last percentile are equal.
    """
    scaled = []
    for volume in volumes:
        found = quantiles(as_float32(volume, "nyul"), percents, over, "nyul")
        if found[0] == found[-1]:
            raise ItemError("step_failed", "nyul: a volume without contrast has no landmarks")
        scaled.append(low + (found - found[0]) * ((high - low) / (found[-1] - found[0])))
    if not scaled:
        raise SettingsError("landmarks need at least one volume")
    return NyulStandardise.read(
        {"landmarks": np.mean(scaled, axis=0).tolist(), "percents": tuple(percents), "over": over},
        where="nyul",
    )
