"""Rules of a mapping file: a pattern over names, and what its groups mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import Field

from voxlake.core.errors import SettingsError
from voxlake.core.hints import hint
from voxlake.core.settings import Settings
from voxlake.sources.item import Hints

__all__ = ["FIELDS", "MappingSettings", "Rule", "RuleSettings", "compile_rules"]

FIELDS = ("patient", "study", "series", "modality", "body_part")
_LABEL_PREFIX = "label_"
_PLACE = re.compile(r"\{(\w*)\}")


class RuleSettings(Settings):
    """One ``[[rules]]`` table.

    Parameters
    ----------
    pattern : str
        Regular expression, searched anywhere in the name. Groups named ``patient``, ``study``,
        ``series``, ``modality``, ``body_part``, ``label`` and ``label_<name>`` give the hints.
    patient, study, series, modality, body_part, label : str or None
        Constants, or templates with ``{group}`` for a group of the pattern; they come before a group
        of the same name. A template whose group took no part in the match gives no hint.
    """

    pattern: str = Field(min_length=1)
    patient: str | None = None
    study: str | None = None
    series: str | None = None
    modality: str | None = None
    body_part: str | None = None
    label: str | None = None


class MappingSettings(Settings):
    """A whole TOML mapping; see `voxlake.sources.mapping`."""

    label_name: str = Field(default="label", min_length=1)
    labels: dict[str, str] = Field(default_factory=dict)
    unmatched: Literal["keep", "ignore", "error"] = "keep"
    rules: tuple[RuleSettings, ...] = Field(min_length=1)


class Rule(Protocol):
    """Something that knows about some names."""

    def hints(self, name: str) -> Hints | None:
        """What it says about a name; None if it does not know it."""
        ...


@dataclass(frozen=True)
class _PatternRule:
    """A compiled ``[[rules]]`` table.

    Parameters
    ----------
    pattern : re.Pattern
        Searched in the name.
    templates : mapping of str to str
        Hint field -> template.
    labels : mapping of str to str
        Label name -> template.
    renamed : mapping of str to str
        Label value -> value to be kept instead.
    """

    pattern: re.Pattern[str]
    templates: Mapping[str, str]
    labels: Mapping[str, str]
    renamed: Mapping[str, str]

    def hints(self, name: str) -> Hints | None:
        """The hints if the pattern is found in the name, else None."""
        match = self.pattern.search(name)
        if match is None:
            return None
        groups = match.groupdict()
        values = {each: _filled(template, groups) for each, template in self.templates.items()}
        labels = ((each, _filled(template, groups)) for each, template in self.labels.items())
        return Hints(
            **values,
            labels=tuple((each, self.renamed.get(value, value)) for each, value in labels if value),
        )


def compile_rules(settings: MappingSettings, where: str) -> tuple[Rule, ...]:
    """Compile all rules of a mapping.

    Raises
    ------
    SettingsError
        A pattern is no regular expression, a group or a template names nothing that is known.
    """
    return tuple(_compiled(rule, settings, f"{where}, rule {n}") for n, rule in enumerate(settings.rules, 1))


def _compiled(rule: RuleSettings, settings: MappingSettings, where: str) -> _PatternRule:
    try:
        pattern = re.compile(rule.pattern)
    except re.error as error:
        place = "" if error.pos is None else f" at character {error.pos + 1}"
        message = f"{where}: 'pattern' is not a regular expression: {error.msg}{place}"
        raise SettingsError(message) from None
    groups = list(pattern.groupindex)
    given = {each: value for each in FIELDS if (value := getattr(rule, each)) is not None}
    used = _used(given, rule.label, groups, where)
    _check_groups(groups, used, where)
    templates = {each: f"{{{each}}}" for each in FIELDS if each in groups} | given
    labels = {
        each.removeprefix(_LABEL_PREFIX): f"{{{each}}}" for each in groups if each.startswith(_LABEL_PREFIX)
    }
    main = rule.label if rule.label is not None else "{label}" if "label" in groups else None
    if main is not None:
        labels = {settings.label_name: main} | labels
    return _PatternRule(pattern, templates, labels, settings.labels)


def _used(given: Mapping[str, str], label: str | None, groups: list[str], where: str) -> set[str]:
    templates = dict(given) if label is None else {**given, "label": label}
    used = set()
    for key, template in templates.items():
        for name in _PLACE.findall(template):
            if name not in groups:
                message = f"{where}: '{key}' uses {{{name}}}, which the pattern does not have"
                raise SettingsError(message + hint(name, groups))
            used.add(name)
    return used


def _check_groups(groups: list[str], used: set[str], where: str) -> None:
    for name in groups:
        label = name == "label" or (name.startswith(_LABEL_PREFIX) and len(name) > len(_LABEL_PREFIX))
        if not (label or name in FIELDS or name in used):
            known = [*FIELDS, "label", "label_<name>"]
            message = f"{where}: group '{name}' of the pattern is neither a hint nor used in a template"
            raise SettingsError(message + hint(name, known))


def _filled(template: str, groups: Mapping[str, str | None]) -> str | None:
    values = [groups[name] for name in _PLACE.findall(template)]
    if any(not value for value in values):
        return None
    return _PLACE.sub(lambda place: groups[place[1]] or "", template) or None
