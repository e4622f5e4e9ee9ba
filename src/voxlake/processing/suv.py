"""Activity concentration to standardised uptake values."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np

from voxlake.core.errors import ItemError
from voxlake.core.step import Step
from voxlake.core.volume import Unit, Volume
from voxlake.processing.values import as_float32, single_precision

__all__ = ["Suv"]

_UNITS: Mapping[str, Unit] = MappingProxyType(
    {
        "bw": "SUVbw",
        "lbm_janma": "SUVlbm(Janma)",
        "lbm_james128": "SUVlbm(James128)",
        "bsa": "SUVbsa",
        "ibw": "SUVibw",
    }
)


class Suv(Step):
    """Convert a PET volume to standardised uptake values.

    The grid stays; values are float32 afterwards. A volume that is in this unit already keeps its values.
    The factors come with the volume: they were read from the original header when it was taken in.
    NaN stays NaN, infinities stay infinite.

    Parameters
    ----------
    kind : str
        ``"bw"``: by body weight (g/ml); ``"lbm_janma"``, ``"lbm_james128"``: by lean body mass (g/ml);
        ``"bsa"``: by body surface (cm2/ml); ``"ibw"``: by ideal body weight (g/ml). Names as in PS3.16
        context group 85.

    Raises
    ------
    ItemError
        ``step_failed``: no PET, or the header lacked something that this kind needs.
    """

    name: ClassVar[str] = "suv"
    version: ClassVar[int] = 1

    kind: Literal["bw", "lbm_janma", "lbm_james128", "bsa", "ibw"] = "bw"

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        target = _UNITS[self.kind]
        factor = 1.0 if volume.unit == target else volume.conversions.get(target)
        if factor is None:
            raise ItemError(
                "step_failed",
                f"no factor from {volume.unit} to {target}: it needs a PET image with units, decay "
                "correction, dose, half-life, time of injection and weight"
                + ("" if self.kind == "bw" else ", height")
                + (" and sex" if self.kind not in ("bw", "bsa") else ""),
            )
        with single_precision(self.name):
            data = as_float32(volume, self.name) * np.float32(factor)
        return volume.with_data(data, step=self.tag, unit=target)
