"""Leaving out series by what was found in them."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["without"]


def without(condition: str, exclude: Sequence[str]) -> str:
    """Narrow a condition over ``series`` to those in which rules found nothing.

    Parameters
    ----------
    condition : str
        SQL.
    exclude : sequence of str
        Rules; a finding about the series, one of its images, its study or its patient counts.

    Returns
    -------
    str
        SQL that anybody can run again; the condition itself if nothing is excluded.

    Raises
    ------
    NotFoundError
        A name is no rule; the near miss is named.
    """
    if not exclude:
        return condition
    # The rules bring decoders along, which a selection without exclusions does not need.
    from voxlake.lake.quality.registry import check_rules

    rules = sorted(set(exclude))
    check_rules(tuple(rules))
    named = ", ".join(f"'{rule}'" for rule in rules)
    return (
        f"({condition}\n) and series_instance_uid not in "
        f"(select series_instance_uid from series_findings where rule in ({named}))"
    )
