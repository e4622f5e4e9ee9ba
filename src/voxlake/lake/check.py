"""The verb check: rules over everything that was let in, and what they find."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

from voxlake.core.run import Run
from voxlake.engine.contract import Engine
from voxlake.engine.open import using_engine
from voxlake.engine.progress import progress_bar
from voxlake.lake.cohorts import get_cohort
from voxlake.lake.fingerprints import VERSION, Fingerprint, Fingerprinting
from voxlake.lake.grouped import Lost, map_groups
from voxlake.lake.lake import Lake
from voxlake.lake.quality.registry import RULES
from voxlake.lake.quality.rule import Found, Rule, Scope
from voxlake.lake.recorder import Recorder, start_run

__all__ = ["check"]

_GROUP_IMAGES = 32
_GROUP_BYTES = 32 * 2**20
_WINDOW_GROUPS_PER_WORKER = 4
_FINDINGS_AT_ONCE = 5_000
# Decoding makes copies: of the memory of a worker so much may be decoded values.
_SHARE_OF_MEMORY = 4
_SEVERITIES = ("error", "warning", "info")

# So many images are listed at a time, whatever the size of the lake.
_LISTED_AT_ONCE = 100_000

_COUNT = """
select count(distinct sha256) as images from {instances} as instances
where pixel_offset is not null or format <> 'dicom'
"""
_IMAGES = f"""
select distinct on (instances.sha256) instances.sha256, pack, "offset", length, format,
    fingerprints.sha256 is not null as done
from {{instances}} as instances left join
    (select sha256 from fingerprints where version = {VERSION}) as fingerprints using (sha256)
where (pixel_offset is not null or format <> 'dicom')
    and instances.sha256 >= $low and instances.sha256 < $high
order by instances.sha256
"""


def check(  # noqa: PLR0913 - each option of the command is a parameter
    lake: Lake,
    cohort: str | None = None,
    *,
    pixels: bool = True,
    engine: str | Engine | None = None,
    workers: int | None = None,
    timeout: float = 120.0,
    memory: int = 4 * 2**30,
    progress: bool | None = None,
    metrics: str | Path | None = None,
) -> Run:
    """Look for what is wrong with the data: gaps, blanks, duplicates, contradictions.

    Every image is decoded once, in a worker, and measured (table ``fingerprints``); then every rule goes over
    the tables. What breaks a rule becomes a row of ``findings``, once: checking again adds only what is new.
    The rules are listed in the documentation under Findings.

    Parameters
    ----------
    lake : Lake
        The lake.
    cohort : str, optional
        Name of a cohort, or name@version; by default the whole lake.
    pixels : bool
        Whether to decode images that were not measured yet. Without it, rules about pixels know only those
        that were.
    engine : str, optional
        ``"serial"`` or ``"processes:N"``; by default a process for each core.
    workers : int, optional
        How many processes the default engine has.
    timeout : float
        Seconds that one image may take.
    memory : int
        Bytes that one worker may take.
    progress : bool, optional
        Whether to show a progress bar; by default only on a terminal.
    metrics : path, optional
        File that says how the run goes, for Prometheus; written every few seconds.

    Returns
    -------
    Run
        Items are images. ``result["findings"]`` lists the rules that found something: how much, and how much
        of it is new.

    Raises
    ------
    NotFoundError
        There is no such cohort.

    Examples
    --------
    >>> check(lake)  # doctest: +SKIP
    >>> check(lake, "chests", pixels=False)  # doctest: +SKIP
    """
    chosen = None if cohort is None else get_cohort(lake, cohort)
    scope = Scope(lake, None if chosen is None else chosen.cohort_id)
    named = None if chosen is None else f"{chosen.name}@{chosen.version}"
    with start_run(lake, "check", {"cohort": named, "pixels": pixels}, metrics=metrics) as recorder:
        if pixels:
            work = Fingerprinting(lake.reference, memory // _SHARE_OF_MEMORY)
            total = _count(scope)
            with (
                using_engine(engine, workers) as pool,
                progress_bar("check", total, enabled=progress, counts=recorder.counts) as bar,
            ):
                recorder.facts.workers = pool.workers
                for window in _windows(_missing(scope, recorder, total), pool.workers):
                    results = map_groups(pool, work, window, timeout=timeout, memory=memory)
                    for row, one in zip(chain(*window), chain(*results), strict=True):
                        _settle(recorder, row["sha256"], one)
                        recorder.facts.bytes += row["length"]
                    recorder.commit_if_due()
                    bar.reach(recorder.settled)
            recorder.commit()
        found = [_apply(recorder, scope, rule) for rule in RULES.values()]
        seen = [line for line in found if line["found"]]
        seen.sort(key=lambda line: (_SEVERITIES.index(line["severity"]), -line["found"]))
        (series,) = next(iter(scope.rows("select count(*) as series from {series} as series"))).values()
        recorder.result |= {"series": series, "rules": len(RULES), "findings": seen}
        if chosen is not None:
            recorder.input_digest = chosen.cohort_id
    return recorder.run


def _count(scope: Scope) -> int:
    return sum(row["images"] for row in scope.rows(_COUNT))


def _missing(scope: Scope, recorder: Recorder, total: int) -> Iterator[dict[str, Any]]:
    """Images that were not measured yet; every image is counted."""
    pages = -(-total // _LISTED_AT_ONCE)
    # Digests are evenly spread; no hexadecimal digit is as high as a g.
    bounds = [f"{number * 16**8 // pages:08x}" for number in range(pages)] + ["g"]
    for low, high in pairwise(bounds):
        page = scope.rows(_IMAGES, {"low": low, "high": high})
        for row in sorted(page, key=lambda row: (row["pack"], row["offset"])):
            recorder.saw()
            if row["done"]:
                recorder.outcome(row["sha256"], "already")
            else:
                yield row


def _windows(rows: Iterable[dict[str, Any]], workers: int) -> Iterator[list[tuple[dict[str, Any], ...]]]:
    groups = _groups(rows)
    while window := list(islice(groups, _WINDOW_GROUPS_PER_WORKER * workers)):
        yield window


def _groups(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], ...]]:
    group: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        group.append(row)
        size += row["length"]
        if len(group) >= _GROUP_IMAGES or size >= _GROUP_BYTES:
            yield tuple(group)
            group, size = [], 0
    if group:
        yield tuple(group)


def _settle(recorder: Recorder, sha256: str, one: Fingerprint | Lost) -> None:
    if isinstance(one, Lost):
        reason, detail = one.failure.reason, one.failure.message
        recorder.outcome(sha256, "failed", reason=reason, detail=detail, attempts=one.attempts)
    elif one.row is None:
        recorder.outcome(sha256, "failed", reason=one.reason, detail=one.detail)
    else:
        recorder.add("fingerprints", [one.row])
        recorder.outcome(sha256, "stored")


def _apply(recorder: Recorder, scope: Scope, rule: Rule) -> dict[str, Any]:
    """Record what breaks a rule; returns its line of the summary."""
    found = new = 0
    everything = iter(rule.find(scope))
    while batch := list(islice(everything, _FINDINGS_AT_ONCE)):
        found += len(batch)
        new += recorder.add_missing("findings", _rows(rule, batch))
        recorder.commit()
    return {"rule": rule.id, "severity": rule.severity, "found": found, "new": new, "what": rule.title}


def _rows(rule: Rule, batch: Sequence[Found]) -> list[Mapping[str, Any]]:
    return [
        {
            "rule": rule.id,
            "severity": rule.severity,
            "subject_level": one.level,
            "subject": one.subject,
            "value": None if one.value is None else float(one.value),
            "detail": one.detail,
            "content": one.content,
        }
        for one in batch
    ]
