"""All steps by name, and the plans that come with voxlake."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType

from voxlake.core.errors import NotFoundError
from voxlake.core.hints import hint
from voxlake.core.plan import Plan
from voxlake.core.step import Step
from voxlake.processing.augment.bias_field import BiasField
from voxlake.processing.augment.cut_out import CutOut
from voxlake.processing.augment.ghosting import Ghosting
from voxlake.processing.augment.low_resolution import LowResolution
from voxlake.processing.augment.mirror import Mirror
from voxlake.processing.augment.noise import Noise
from voxlake.processing.augment.warp import Warp
from voxlake.processing.bilateral import Bilateral
from voxlake.processing.cast import Cast
from voxlake.processing.clahe import Clahe
from voxlake.processing.clip import Clip
from voxlake.processing.crop import Crop
from voxlake.processing.crop_around import CropAround
from voxlake.processing.crop_foreground import CropForeground
from voxlake.processing.crop_or_pad import CropOrPad
from voxlake.processing.flip import Flip
from voxlake.processing.gamma import Gamma
from voxlake.processing.gaussian import Gaussian
from voxlake.processing.grayscale import Grayscale
from voxlake.processing.histogram_match import HistogramMatch
from voxlake.processing.invert import Invert
from voxlake.processing.median import Median
from voxlake.processing.minmax import MinMax
from voxlake.processing.n4 import N4
from voxlake.processing.nonlocal_means import NonlocalMeans
from voxlake.processing.nyul import NyulStandardise
from voxlake.processing.pad import Pad
from voxlake.processing.percentile import Percentile
from voxlake.processing.reorient import Reorient
from voxlake.processing.resample import Resample
from voxlake.processing.rescale import Rescale
from voxlake.processing.resize import Resize
from voxlake.processing.suv import Suv
from voxlake.processing.to_grid import ToGrid
from voxlake.processing.total_variation import TotalVariation
from voxlake.processing.transform_to import TransformTo
from voxlake.processing.unsharp import Unsharp
from voxlake.processing.wavelet import Wavelet
from voxlake.processing.window import Window
from voxlake.processing.zscore import ZScore

__all__ = ["STEPS", "load_plan", "plan_names"]

_CLASSES: tuple[type[Step], ...] = (
    BiasField,
    Bilateral,
    Cast,
    Clahe,
    Clip,
    Crop,
    CropAround,
    CropForeground,
    CropOrPad,
    CutOut,
    Flip,
    Gamma,
    Gaussian,
    Ghosting,
    Grayscale,
    HistogramMatch,
    Invert,
    LowResolution,
    Median,
    MinMax,
    Mirror,
    N4,
    Noise,
    NonlocalMeans,
    NyulStandardise,
    Pad,
    Percentile,
    Reorient,
    Resample,
    Rescale,
    Resize,
    Suv,
    ToGrid,
    TotalVariation,
    TransformTo,
    Unsharp,
    Warp,
    Wavelet,
    Window,
    ZScore,
)

STEPS: Mapping[str, type[Step]] = MappingProxyType({step.name: step for step in _CLASSES})
"""Every step that a plan may name, sorted by name."""

_PLANS = resources.files("voxlake.processing") / "plans"


def plan_names() -> tuple[str, ...]:
    """Names of the plans that come with voxlake, sorted."""
    return tuple(
        sorted(entry.name.removesuffix(".toml") for entry in _PLANS.iterdir() if entry.name.endswith(".toml"))
    )


def load_plan(source: str | Path) -> Plan:
    """Read a plan.

    Parameters
    ----------
    source : path or str
        The name of a plan that comes with voxlake (see `plan_names`), a TOML file, or TOML text
        (anything with a line break). A name wins over a file of that name; write ``./name`` for the file.

    Raises
    ------
    NotFoundError
        Neither a known name (the near miss is named) nor a file.
    SettingsError
        No TOML, an unknown step or key (the near miss is named), or a value that does not fit.
    """
    names = plan_names()
    if isinstance(source, str) and source in names:
        return Plan.from_toml((_PLANS / f"{source}.toml").read_text(encoding="utf-8"), steps=STEPS)
    try:
        return Plan.from_toml(source, steps=STEPS)
    except NotFoundError:
        raise NotFoundError(
            f"'{source}' is neither a plan that comes with voxlake nor a file{hint(str(source), names)}"
        ) from None
