"""All methods and edits by name, and the mask plans that come with voxlake."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType

from voxlake.core.errors import NotFoundError
from voxlake.core.hints import hint
from voxlake.core.mask_plan import MaskPlan
from voxlake.core.mask_step import MaskEdit, MaskStep
from voxlake.processing.registry import STEPS
from voxlake.processing.segment.airways_ct import AirwaysCT
from voxlake.processing.segment.body_ct import BodyCT
from voxlake.processing.segment.bone_ct import BoneCT
from voxlake.processing.segment.brain_mr import BrainMR
from voxlake.processing.segment.chan_vese import ChanVese
from voxlake.processing.segment.closing import Close
from voxlake.processing.segment.dilate import Dilate
from voxlake.processing.segment.erode import Erode
from voxlake.processing.segment.fill_holes import FillHoles
from voxlake.processing.segment.geodesic_contour import GeodesicContour
from voxlake.processing.segment.keep_largest import KeepLargest
from voxlake.processing.segment.kmeans import KMeans
from voxlake.processing.segment.li import Li
from voxlake.processing.segment.lungs_ct import LungsCT
from voxlake.processing.segment.lungs_xray import LungsXray
from voxlake.processing.segment.mixture import GaussianMixture
from voxlake.processing.segment.opening import Open
from voxlake.processing.segment.otsu import Otsu
from voxlake.processing.segment.random_walker import RandomWalker
from voxlake.processing.segment.region_grow import RegionGrow
from voxlake.processing.segment.remove_small import RemoveSmall
from voxlake.processing.segment.threshold import Threshold
from voxlake.processing.segment.watershed import Watershed

__all__ = ["CLEANERS", "METHODS", "load_mask_plan", "mask_plan_names"]

_METHODS: tuple[type[MaskStep], ...] = (
    AirwaysCT,
    BodyCT,
    BoneCT,
    BrainMR,
    ChanVese,
    GaussianMixture,
    GeodesicContour,
    KMeans,
    Li,
    LungsCT,
    LungsXray,
    Otsu,
    RandomWalker,
    RegionGrow,
    Threshold,
    Watershed,
)
_EDITS: tuple[type[MaskEdit], ...] = (Close, Dilate, Erode, FillHoles, KeepLargest, Open, RemoveSmall)

METHODS: Mapping[str, type[MaskStep]] = MappingProxyType({method.name: method for method in _METHODS})
"""Every method that a mask plan may name, sorted by name."""

CLEANERS: Mapping[str, type[MaskEdit]] = MappingProxyType({edit.name: edit for edit in _EDITS})
"""Every edit that a mask plan may name, sorted by name."""

_PLANS = resources.files("voxlake.processing.segment") / "plans"


def mask_plan_names() -> tuple[str, ...]:
    """Names of the mask plans that come with voxlake, sorted."""
    return tuple(
        sorted(entry.name.removesuffix(".toml") for entry in _PLANS.iterdir() if entry.name.endswith(".toml"))
    )


def load_mask_plan(source: str | Path, *, methods: Mapping[str, type[MaskStep]] = METHODS) -> MaskPlan:
    """Read a mask plan.

    Parameters
    ----------
    source : path or str
        The name of a mask plan that comes with voxlake (see `mask_plan_names`), a TOML file, or TOML text
        (anything with a line break). A name wins over a file of that name; write ``./name`` for the file.
    methods : mapping of str to MaskStep class
        The methods that may be named.

    Raises
    ------
    NotFoundError
        Neither a known name (the near miss is named) nor a file.
    SettingsError
        No TOML, an unknown method, edit, step or key (the near miss is named), or a value that does not fit.
    """
    names = mask_plan_names()
    text = (_PLANS / f"{source}.toml").read_text(encoding="utf-8") if str(source) in names else source
    try:
        return MaskPlan.from_toml(text, steps=STEPS, methods=methods, edits=CLEANERS)
    except NotFoundError:
        raise NotFoundError(
            f"'{source}' is neither a mask plan that comes with voxlake nor a file{hint(str(source), names)}"
        ) from None
