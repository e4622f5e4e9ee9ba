"""All random steps by name, and augmentations as files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from voxlake.core.registry import read_entry
from voxlake.core.toml import check_keys, load_tables, rows_of, to_toml
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
    tables, where, _ = load_tables(source, "augmentation")
    check_keys(tables, ("steps",), where)
    rows = enumerate(rows_of(tables, "steps", where), 1)
    return Augmentation(tuple(read_entry(row, "step", RANDOM_STEPS, f"{where}, step {n}") for n, row in rows))


def write_augmentation(augmentation: Augmentation) -> str:
    """TOML text that `load_augmentation` reads back to an equal augmentation."""
    return to_toml({"steps": [step.to_dict() for step in augmentation]})
