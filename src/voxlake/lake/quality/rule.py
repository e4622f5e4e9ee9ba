"""What a rule is: an identifier that stays, a severity, a page, and a way to find what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from voxlake.lake.lake import Lake
from voxlake.lake.views import not_withdrawn

__all__ = ["Found", "Rule", "Scope", "by_query"]

Severity = Literal["info", "warning", "error"]
Level = Literal["patient", "study", "series", "instance"]


@dataclass(frozen=True)
class Found:
    """One thing that breaks a rule.

    Parameters
    ----------
    level, subject : str
        What it is about: an identifier of the lake.
    value : float or None
        What was measured.
    detail : str
        One sentence; identifiers of the lake at most.
    content : str or None
        Digest of the series that it was found in, where more images may mend it.
    """

    level: Level
    subject: str
    value: float | None
    detail: str
    content: str | None = None


@dataclass(frozen=True)
class Scope:
    """Which part of a lake is looked at; patients who have withdrawn never are.

    Parameters
    ----------
    lake : Lake
        The lake.
    cohort_id : str, optional
        A cohort; by default everything.
    """

    lake: Lake
    cohort_id: str | None = None

    def rows(self, statement: str, parameters: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Run a query; ``{series}`` and ``{instances}`` in it stand for what is looked at."""
        inside = ""
        given = dict(parameters or {})
        if self.cohort_id is not None:
            inside = (
                " and series_instance_uid in "
                "(select series_instance_uid from cohort_members where cohort_id = $cohort_id)"
            )
            given["cohort_id"] = self.cohort_id
        series = f"(select * from series where {not_withdrawn()}{inside})"
        # An object that came in under two policies counts as the one that its series now consists of.
        instances = (
            "(select instances.* from instances semi join "
            f"{series} as inside using (series_instance_uid, policy_digest))"
        )
        text = statement.replace("{series}", series).replace("{instances}", instances)
        yield from self.lake.sql(text, given or None).dicts()


@dataclass(frozen=True)
class Rule:
    """A rule about data.

    Parameters
    ----------
    id : str
        Never changes: cohorts and queries name it.
    severity : str
        ``error``: do not use without mending. ``warning``: look first. ``info``: know it.
    level : str
        What most of its findings are about.
    title : str
        What it finds, in a few words.
    why, how, advice : str
        Why it matters, what is measured against which limit, what to do. They make up its page.
    find : callable
        Gives what breaks the rule.
    pixels : bool
        Whether it needs `fingerprints`.
    notes : str
        More for its page, Markdown.
    """

    id: str
    severity: Severity
    level: Level
    title: str
    why: str
    how: str
    advice: str
    find: Callable[[Scope], Iterable[Found]]
    pixels: bool = False
    notes: str = ""

    @property
    def page(self) -> str:
        """Its page in the documentation, from the root of the site."""
        return f"findings/{self.id}.md"


def by_query(statement: str, level: Level) -> Callable[[Scope], Iterable[Found]]:
    """Make what finds things by SQL.

    Parameters
    ----------
    statement : str
        Over ``{series}`` and ``{instances}``; gives ``subject``, ``value``, ``detail`` and, where it
        applies, ``content``. Rows without a subject are passed over.
    level : str
        What the subjects are.
    """

    def find(scope: Scope) -> Iterable[Found]:
        for row in scope.rows(statement):
            if row["subject"] is not None:
                yield Found(level, row["subject"], row["value"], row["detail"], row.get("content"))

    return find
