"""All random steps by name, and augmentations as files."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from voxlake.core.errors import NotFoundError, SettingsError
from voxlake.core.hints import hint
from voxlake.core.toml import to_toml
from voxlake.processing.augment.base import Augmentation, RandomStep
from voxlake.processing.augment.bias_field import RandomBiasField
from voxlake.processing.augment.blur import RandomBlur
from voxlake.processing.augment.contrast import RandomGamma
from voxlake.processing.augment.cut_out import RandomCutOut
from voxlake.processing.augment.ghosting import RandomGhosting
from voxlake.processing.augment.low_resolution import RandomLowResolution
from voxlake.processing.augment.mirror import RandomMirror
from voxlake.processing.augment.noise import RandomNoise
from voxlake.processing.augment.warp import RandomAffine, RandomElastic

__all__ = ["RANDOM_STEPS", "load_augmentation", "write_augmentation"]

_CLASSES: tuple[type[RandomStep], ...] = (
    RandomAffine,
    RandomBiasField,
    RandomBlur,
    RandomCutOut,
    RandomElastic,
    RandomGamma,
    RandomGhosting,
    RandomLowResolution,
    RandomMirror,
    RandomNoise,
)

RANDOM_STEPS: Mapping[str, type[RandomStep]] = MappingProxyType({step.name: step for step in _CLASSES})
"""Every random step that an augmentation may name, sorted by name."""


def load_augmentation(source: str | Path) -> Augmentation:
    """Read an augmentation: a list of tables ``[[steps]]``, each with the key ``step`` and its ranges.

    Parameters
    ----------
    source : path or str
        A TOML file, or TOML text (anything with a line break).

    Raises
    ------
    NotFoundError
        The file is not there.
    SettingsError
        No TOML, an unknown step or key (the near miss is named), or a value that does not fit.
    """
    text = source if isinstance(source, str) and "\n" in source else _text_of(Path(source))
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"the augmentation is not valid TOML: {error}") from None
    unknown = sorted(set(tables) - {"steps"})
    if unknown:
        raise SettingsError(f"augmentation: unknown key '{unknown[0]}'{hint(unknown[0], ('steps',))}")
    rows = tables.get("steps", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SettingsError("augmentation: 'steps' must be a list of tables ([[steps]])")
    return Augmentation(tuple(_step(row, f"augmentation, step {n}") for n, row in enumerate(rows, 1)))


def write_augmentation(augmentation: Augmentation) -> str:
    """TOML text that `load_augmentation` reads back to an equal augmentation."""
    return to_toml({"steps": [step.to_dict() for step in augmentation]})


def _text_of(path: Path) -> str:
    if not path.is_file():
        raise NotFoundError(f"no augmentation file '{path}'; give a path to a TOML file")
    return path.read_text(encoding="utf-8")


def _step(row: Mapping[str, Any], where: str) -> RandomStep:
    settings = dict(row)
    name = settings.pop("step", None)
    if not isinstance(name, str) or name not in RANDOM_STEPS:
        near = hint(name, RANDOM_STEPS) if isinstance(name, str) else hint("", RANDOM_STEPS)
        raise SettingsError(f"{where}: 'step' must name a random step, got {name!r}{near}")
    return RANDOM_STEPS[name].read(settings, where=f"{where} ({name})")
