"""All families of features by name, and the feature plans that come with voxlake."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType

from voxlake.core.errors import NotFoundError
from voxlake.core.hints import hint
from voxlake.features.family import Family
from voxlake.features.histogram import Histogram
from voxlake.features.intensity import Intensity
from voxlake.features.plan import FeaturePlan
from voxlake.features.shape import Shape

__all__ = ["FAMILIES", "feature_plan_names", "load_feature_plan"]

_CLASSES: tuple[type[Family], ...] = (Histogram, Intensity, Shape)

FAMILIES: Mapping[str, type[Family]] = MappingProxyType({family.name: family for family in _CLASSES})
"""Every family that a feature plan may name, sorted by name."""

_PLANS = resources.files("voxlake.features") / "plans"


def feature_plan_names() -> tuple[str, ...]:
    """Names of the feature plans that come with voxlake, sorted."""
    return tuple(
        sorted(entry.name.removesuffix(".toml") for entry in _PLANS.iterdir() if entry.name.endswith(".toml"))
    )


def load_feature_plan(source: str | Path) -> FeaturePlan:
    """Read a feature plan.

    Parameters
    ----------
    source : path or str
        The name of a feature plan that comes with voxlake (see `feature_plan_names`), a TOML file, or TOML
        text (anything with a line break). A name wins over a file of that name; write ``./name`` for the
        file.

    Raises
    ------
    NotFoundError
        Neither a known name (the near miss is named) nor a file.
    SettingsError
        No TOML, an unknown family or key (the near miss is named), or a value that does not fit.
    """
    names = feature_plan_names()
    if isinstance(source, str) and source in names:
        text = (_PLANS / f"{source}.toml").read_text(encoding="utf-8")
        return FeaturePlan.from_toml(text, families=FAMILIES)
    try:
        return FeaturePlan.from_toml(source, families=FAMILIES)
    except NotFoundError:
        raise NotFoundError(
            f"'{source}' is neither a feature plan that comes with voxlake nor a file"
            f"{hint(str(source), names)}"
        ) from None
