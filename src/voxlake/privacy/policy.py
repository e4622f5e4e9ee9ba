"""Which profile, options and own rules are applied: written down, hashed, recorded with every instance."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field, field_serializer, field_validator, model_validator

from voxlake.core import toml
from voxlake.core.digest import digest_json, short
from voxlake.core.errors import NotFoundError
from voxlake.core.hints import hint
from voxlake.core.settings import Settings
from voxlake.privacy.own_rules import OwnRule
from voxlake.privacy.pixels import Waiver
from voxlake.privacy.profile import PROFILE_DIGEST, SAFE_PRIVATE_DIGEST

__all__ = [
    "LATER_OPTIONS",
    "OPTION_CODES",
    "POLICY_VERSION",
    "PRESETS",
    "Policy",
    "load_policy",
    "to_toml",
]

POLICY_VERSION = "3"
"""Raised whenever the same policy would give other bytes, so that its digest changes."""

# Codes and meanings of PS3.16 CID 7050, De-identification Method.
OPTION_CODES = MappingProxyType(
    {
        "basic": ("113100", "Basic Application Confidentiality Profile"),
        "clean_descriptors": ("113105", "Clean Descriptors Option"),
        "clean_graphics": ("113103", "Clean Graphics Option"),
        "clean_structured_content": ("113104", "Clean Structured Content Option"),
        "retain_device_identity": ("113109", "Retain Device Identity Option"),
        "retain_institution_identity": ("113112", "Retain Institution Identity Option"),
        "retain_longitudinal_full_dates": (
            "113106",
            "Retain Longitudinal Temporal Information Full Dates Option",
        ),
        "retain_longitudinal_modified_dates": (
            "113107",
            "Retain Longitudinal Temporal Information Modified Dates Option",
        ),
        "retain_patient_characteristics": ("113108", "Retain Patient Characteristics Option"),
        "retain_safe_private": ("113111", "Retain Safe Private Option"),
        "retain_uids": ("113110", "Retain UIDs Option"),
    }
)
LATER_OPTIONS = ("clean_pixel_data", "clean_recognizable_visual_features")
"""Options of the standard (113101, 113102) that look into the pixels: not claimed yet, so refused by name."""

_FULL_DATES = "retain_longitudinal_full_dates"
_MODIFIED_DATES = "retain_longitudinal_modified_dates"
_LONGEST_METHOD = 64
_KEPT_AGE = "keep"


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
    max_age : int or None
        Ages over so many years become one year more than this (``090Y``); ``"keep"`` leaves every age.
    rules : tuple of OwnRule
        Own rules, which come before the table of the standard; of those that match, the first counts.
    waivers : tuple of Waiver
        Which pixels may come in although nobody cleaned them, and why.
    """

    name: str = Field(min_length=1, max_length=32, pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]*$")
    profile: Literal["basic", "none"] = "basic"
    options: tuple[str, ...] = ()
    max_shift_days: int = Field(default=3650, ge=1, le=36500)
    max_age: int | None = Field(default=89, ge=1, le=998)
    rules: tuple[OwnRule, ...] = Field(default=(), max_length=1000)
    waivers: tuple[Waiver, ...] = Field(default=(), max_length=1000)

    @field_validator("options")
    @classmethod
    def _known(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        accepted = set(OPTION_CODES) - {"basic"}
        for option in options:
            if option in LATER_OPTIONS:
                raise ValueError(
                    f"option '{option}' is not claimed yet: pixels are not cleaned, but held back until a "
                    "waiver lets them in; leave it out"
                )
            if option not in accepted:
                raise ValueError(f"unknown option '{option}'{hint(option, accepted)}")
        if {_FULL_DATES, _MODIFIED_DATES} <= set(options):
            raise ValueError(
                f"options '{_FULL_DATES}' and '{_MODIFIED_DATES}' contradict each other: a true date "
                "beside a shifted one discloses the shift; name one of them"
            )
        return tuple(sorted(set(options)))

    @field_validator("max_age", mode="before")
    @classmethod
    def _age(cls, value: object) -> object:
        # TOML has no null, so that no limit needs a word.
        return None if value == _KEPT_AGE else value

    @field_serializer("max_age", when_used="json")
    def _age_in_words(self, value: int | None) -> int | str:
        return _KEPT_AGE if value is None else value

    @model_validator(mode="after")
    def _consistent(self) -> Policy:
        given = [name for name in ("options", "rules", "waivers") if getattr(self, name)]
        if self.profile == "none" and given:
            raise ValueError(
                f"profile 'none' takes no {', no '.join(given)}: it keeps every byte and checks nothing; "
                "use profile 'basic' or leave them out"
            )
        return self

    @property
    def claims_profile(self) -> bool:
        """Whether (0012,0064) may claim the Basic Profile: no own rule can keep what the profile takes."""
        return self.profile == "basic" and not any(rule.may_weaken(self.options) for rule in self.rules)

    @property
    def method(self) -> tuple[str, ...]:
        """Values of (0012,0063), each of at most 64 characters: the policy, its digest, own rules."""
        values = [f"voxlake policy {self.name}", f"policy sha256 {short(self.digest())}"]
        if self.rules:
            claim = "" if self.claims_profile else ", Basic Profile not claimed"
            values.append(f"{len(self.rules)} own rules{claim}")
        return tuple(value[:_LONGEST_METHOD] for value in values)

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


def load_policy(source: str | Path = "research") -> Policy:
    """Return a policy by its name, from a TOML file or from TOML text.

    Parameters
    ----------
    source : str or Path
        ``"research"``, ``"basic"``, ``"none"``, the path of a TOML file with the fields of `Policy`, or
        TOML text of more than one line.

    Raises
    ------
    NotFoundError
        Neither a known name nor a file.
    SettingsError
        The file is no TOML, or has unknown keys, options or values.
    """
    preset = PRESETS.get(str(source))
    if preset is not None:
        return preset
    try:
        values, where, _ = toml.load_tables(source, "policy")
    except NotFoundError:
        name = Path(source).name
        raise NotFoundError(
            f"no policy '{name}': expected a TOML file or a name{hint(name, PRESETS)}"
        ) from None
    return Policy.read(values, where=where)


def to_toml(policy: Policy) -> str:
    """Write a policy as TOML text that `load_policy` reads back as the same policy."""
    values: dict[str, Any] = policy.model_dump(mode="json")
    # An empty list would forbid [[rules]] tables further down, which people add by hand.
    return toml.to_toml({name: value for name, value in values.items() if value != []})
