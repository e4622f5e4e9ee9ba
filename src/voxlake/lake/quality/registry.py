"""All rules, by identifier."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from voxlake.core.errors import NotFoundError
from voxlake.core.hints import hint
from voxlake.lake.quality.geometry_rules import GEOMETRY_RULES
from voxlake.lake.quality.header_rules import HEADER_RULES
from voxlake.lake.quality.ingest_rules import INGEST_RULES
from voxlake.lake.quality.likeness_rules import LIKENESS_RULES
from voxlake.lake.quality.pixel_rules import PIXEL_RULES
from voxlake.lake.quality.rule import Rule
from voxlake.lake.quality.time_rules import TIME_RULES

__all__ = ["RULES", "check_rules"]

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        rule.id: rule
        for rule in (
            *GEOMETRY_RULES, *PIXEL_RULES, *HEADER_RULES, *LIKENESS_RULES, *TIME_RULES, *INGEST_RULES,
        )
    }
)  # fmt: skip


def check_rules(names: tuple[str, ...]) -> None:
    """Refuse names that are no rules.

    Raises
    ------
    NotFoundError
        With the near miss.
    """
    for name in names:
        if name not in RULES:
            raise NotFoundError(f"no rule '{name}'{hint(name, RULES)}")
