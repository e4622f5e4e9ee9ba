"""Which profile and options are applied: written down, hashed, recorded with every instance."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import Field, field_validator, model_validator

from voxlake.core.digest import digest_json
from voxlake.core.errors import NotFoundError, SettingsError
from voxlake.core.hints import hint
from voxlake.core.settings import Settings
from voxlake.privacy.profile import PROFILE_DIGEST, SAFE_PRIVATE_DIGEST

__all__ = ["LATER_OPTIONS", "OPTION_CODES", "POLICY_VERSION", "PRESETS", "Policy", "load_policy"]

POLICY_VERSION = "1"
"""Raised whenever the same policy would give other bytes, so that its digest changes."""

# Codes and meanings of PS3.16 CID 7050, De-identification Method.
OPTION_CODES = MappingProxyType(
    {
        "basic": ("113100", "Basic Application Confidentiality Profile"),
        "clean_descriptors": ("113105", "Clean Descriptors Option"),
        "retain_longitudinal_modified_dates": (
            "113107",
            "Retain Longitudinal Temporal Information Modified Dates Option",
        ),
        "retain_patient_characteristics": ("113108", "Retain Patient Characteristics Option"),
        "retain_safe_private": ("113111", "Retain Safe Private Option"),
    }
)
LATER_OPTIONS = (
    "clean_graphics",
    "clean_pixel_data",
    "clean_recognizable_visual_features",
    "clean_structured_content",
    "retain_device_identity",
    "retain_institution_identity",
    "retain_longitudinal_full_dates",
    "retain_uids",
)


class Policy(Settings):
    """What de-identification does.

    Parameters
    ----------
    name : str
        For people; written into (0012,0063).
    profile : {"basic", "none"}
        Basic Application Level Confidentiality Profile of PS3.15, or no de-identification at all.
    options : tuple of str
        Options of PS3.15 E.3 in snake case, in any order.
    max_shift_days : int
        Dates of a patient move back by 1 to this many days.
    """

    name: str = Field(min_length=1, max_length=32, pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]*$")
    profile: Literal["basic", "none"] = "basic"
    options: tuple[str, ...] = ()
    max_shift_days: int = Field(default=3650, ge=1, le=36500)

    @field_validator("options")
    @classmethod
    def _known(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        accepted = set(OPTION_CODES) - {"basic"}
        for option in options:
            if option in LATER_OPTIONS:
                raise ValueError(f"option '{option}' is not implemented yet and comes later; leave it out")
            if option not in accepted:
                raise ValueError(f"unknown option '{option}'{hint(option, accepted)}")
        return tuple(sorted(set(options)))

    @model_validator(mode="after")
    def _consistent(self) -> Policy:
        if self.profile == "none" and self.options:
            raise ValueError("profile 'none' takes no options; use profile 'basic' or leave the options out")
        return self

    def digest(self) -> str:
        """SHA-256 over the settings, the tables of the standard and the version of the implementation."""
        return digest_json(
            {
                "settings": self.model_dump(mode="json"),
                "profile_table": PROFILE_DIGEST,
                "safe_private_table": SAFE_PRIVATE_DIGEST,
                "version": POLICY_VERSION,
            }
        )


PRESETS = MappingProxyType(
    {
        "research": Policy(
            name="research",
            options=(
                "clean_descriptors",
                "retain_longitudinal_modified_dates",
                "retain_patient_characteristics",
                "retain_safe_private",
            ),
        ),
        "basic": Policy(name="basic"),
        "none": Policy(name="none", profile="none"),
    }
)


def load_policy(name_or_path: str | Path = "research") -> Policy:
    """Return a policy by its name or from a TOML file.

    Parameters
    ----------
    name_or_path : str or Path
        ``"research"``, ``"basic"``, ``"none"``, or the path of a TOML file with the fields of `Policy`.

    Raises
    ------
    NotFoundError
        Neither a known name nor a file.
    SettingsError
        The file is no TOML, or has unknown keys, options or values.
    """
    preset = PRESETS.get(str(name_or_path))
    if preset is not None:
        return preset
    path = Path(name_or_path)
    if not path.is_file():
        raise NotFoundError(
            f"no policy '{path.name}': expected a TOML file or a name{hint(path.name, PRESETS)}"
        )
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"policy '{path.name}' is not TOML: {error}") from None
    return Policy.read(values, where=f"policy '{path.name}'")
