"""The verb deidentify: files in, files without identities out, no lake needed."""

from __future__ import annotations

import csv
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import Any
from uuid import uuid4

from voxlake.core.digest import short
from voxlake.core.errors import UsageError
from voxlake.core.run import Run, check_balance
from voxlake.engine.contract import Engine
from voxlake.engine.metrics import RunFacts, metrics_file
from voxlake.engine.open import using_engine
from voxlake.engine.progress import progress_bar
from voxlake.evaluation.study_facts import StudyFacts, StudyFile
from voxlake.evaluation.study_report import study_page
from voxlake.exchange.cleaned import CleanedFile, Cleaning
from voxlake.lake.grouped import Lost, map_groups
from voxlake.privacy.changes import Change
from voxlake.privacy.policy import Policy, load_policy
from voxlake.privacy.pseudonym_list import PseudonymListReference, Unlisted
from voxlake.sources.item import Item, Source
from voxlake.sources.mapping import load_mapping
from voxlake.sources.open import open_source
from voxlake.store.keys import LakeKey, default_key_file

__all__ = ["deidentify"]

# A group is what a worker takes at a time; a window is what is looked at together.
_GROUP = 16
_GROUPS_PER_WORKER = 16
_KEY_NAME = "deidentify"
_BRIEF = "dry-run"
_PRIVATE = 0o600


def deidentify(  # noqa: PLR0913 - each option of the command is a parameter
    *sources: str | Path | Source,
    output: str | Path | None = None,
    dry_run: bool = False,
    policy: str | Path | Policy = "research",
    key: str | Path | None = None,
    mapping: str | Path | None = None,
    pseudonyms: str | Path | None = None,
    unlisted: Unlisted = "keyed",
    report: str | Path | None = None,
    failed: str | Path | None = None,
    engine: str | Engine | None = None,
    workers: int | None = None,
    timeout: float = 60.0,
    memory: int = 4 * 2**30,
    limit: int = 4 * 2**30,
    progress: bool | None = None,
    metrics: str | Path | None = None,
) -> Run:
    """Take the identities out of files; no lake is needed.

    Writes ``<output>/<patient>/<study>/<series>/<instance>.dcm``, all of them pseudonyms: source names are
    identities too. PNG, JPEG and NIfTI files lose their metadata. Source files do not change.

    Parameters
    ----------
    *sources : str, Path or Source
        Folders, files, zip archives.
    output : path, optional
        Folder for the files; needed unless `dry_run`.
    dry_run : bool
        Write nothing; show what would change, element by element, without any value.
    policy : str or path
        ``"research"``, ``"basic"`` or a TOML file.
    key : path, optional
        Key file of the pseudonyms, for example that of a lake. By default one of your own, made when it is
        first needed; the same key gives the same pseudonyms in every run.
    mapping : path, optional
        TOML or CSV file that gives patient and modality by path.
    pseudonyms : path, optional
        CSV file with the columns ``original`` and ``pseudonym``.
    unlisted : str
        With `pseudonyms`: ``"keyed"`` or ``"refuse"`` patients who are not in it.
    report : path, optional
        HTML file that says for each study what was done, why, and what remains.
    failed : path, optional
        CSV file for the names of source files that were not written, with the reason. Names are identities:
        the file is readable by you alone.
    engine : str, optional
        ``"serial"`` or ``"processes:N"``; by default a process for each core.
    workers : int, optional
        How many processes the default engine has.
    timeout : float
        Seconds that one file may take.
    memory : int
        Bytes that one worker may take.
    limit : int
        Bytes of the largest file that is read.
    progress : bool, optional
        Whether to show a progress bar; by default only on a terminal.
    metrics : path, optional
        File that says how the run goes, for Prometheus; written every few seconds.

    Returns
    -------
    Run
        With the balance: seen = stored (written) + already there + rejected + ignored + failed.

    Raises
    ------
    UsageError
        No source, no output, or policy ``none``.
    NotFoundError
        A source, key or policy is not there.

    Examples
    --------
    >>> deidentify("export/", output="clean/")  # doctest: +SKIP
    >>> deidentify("image.dcm", dry_run=True).result["changes"]  # doctest: +SKIP
    """
    rules = policy if isinstance(policy, Policy) else load_policy(policy)
    _check(sources, output, rules, dry_run=dry_run)
    table = load_mapping(mapping) if mapping is not None else None
    opened = [open_source(source, mapping=table) for source in sources]
    folder = None if dry_run or output is None else Path(output)
    tally = _Tally(rules, listed=dry_run, reported=report is not None)
    tally.result["output"] = "nothing: a dry run" if folder is None else str(folder)
    with _key_file(key, lasting=not dry_run) as key_file, metrics_file(metrics, tally.facts):
        tally.result["key"] = "one for this run only" if key_file.parent.name == _BRIEF else str(key_file)
        patients = None
        if pseudonyms is not None:
            patients = PseudonymListReference.make(pseudonyms, unlisted, LakeKey.from_file(key_file))
        cleaning = Cleaning(rules, key_file, folder, limit, patients)
        with (
            using_engine(engine, workers) as pool,
            progress_bar("deidentify", enabled=progress, counts=tally.facts.counts) as bar,
        ):
            tally.facts.workers = pool.workers
            for window in chain.from_iterable(_windows(source, pool.workers) for source in opened):
                results = map_groups(pool, cleaning, _groups(window), timeout=timeout, memory=memory)
                tally.add(window, [one for group in results for one in group])
                bar.advance(len(window))
        if report is not None:
            Path(report).write_text(study_page(tally.studies(), created=tally.started), encoding="utf-8")
            tally.result["report"] = str(report)
        if failed is not None:
            _write_failed(Path(failed), tally.failed)
    return tally.run()


def _check(sources: Sequence[object], output: str | Path | None, policy: Policy, *, dry_run: bool) -> None:
    if not sources:
        raise UsageError("deidentify needs at least one source: a folder, a file, a zip archive")
    if output is None and not dry_run:
        raise UsageError("say where the files go with output=... (--output DIR), or dry_run=True (--dry-run)")
    if policy.profile == "none":
        raise UsageError("policy 'none' changes nothing; name another one")


@contextmanager
def _key_file(key: str | Path | None, *, lasting: bool) -> Iterator[Path]:
    """Give the file of the key; a dry run without any makes one that is gone afterwards."""
    path = default_key_file(_KEY_NAME) if key is None else Path(key)
    if path.exists() or key is not None:
        LakeKey.from_file(path)
        yield path
    elif lasting:
        LakeKey.generate().save(path)
        yield path
    else:
        with tempfile.TemporaryDirectory() as folder:
            brief = Path(folder) / _BRIEF / _KEY_NAME
            brief.parent.mkdir()
            LakeKey.generate().save(brief)
            yield brief


def _windows(items: Iterable[Item], workers: int) -> Iterator[list[Item]]:
    left = iter(items)
    while window := list(islice(left, _GROUP * _GROUPS_PER_WORKER * workers)):
        yield window


def _groups(window: Sequence[Item]) -> list[Sequence[Item]]:
    wanted = [item for item in window if item.ignored is None]
    return [wanted[start : start + _GROUP] for start in range(0, len(wanted), _GROUP)]


class _Tally:
    """Adds up what became of the files."""

    def __init__(self, policy: Policy, *, listed: bool, reported: bool) -> None:
        self._policy = policy
        self._listed = listed
        self._reported = reported
        self._started, self._clock = datetime.now(UTC), time.monotonic()
        self._counts: Counter[str] = Counter(seen=0)
        run_id = f"{self._started:%Y%m%dT%H%M%S%f}-{uuid4().hex[:6]}"
        self.facts = RunFacts("deidentify", self._counts, run_id)
        self._reasons: Counter[str] = Counter()
        self._changes: Counter[str] = Counter()
        self._waived: Counter[str] = Counter()
        self._elements: Counter[Change] = Counter()
        self._studies: dict[tuple[str, str], list[StudyFile]] = {}
        self.failed: list[tuple[str, str, str]] = []
        self.result: dict[str, Any] = {}

    def add(self, window: Sequence[Item], results: Sequence[CleanedFile | Lost]) -> None:
        """Add the files of a window; `results` are those of the items that are not ignored, in order."""
        left = iter(results)
        for item in window:
            if item.ignored is not None:
                self._count("ignored", item.ignored)
                continue
            one = next(left)
            self.facts.bytes += item.size or 0
            if isinstance(one, Lost):
                one = CleanedFile("failed", one.failure.reason, one.failure.message)
            self._count(one.outcome, one.reason)
            if one.outcome in ("failed", "rejected"):
                self.failed.append((item.name, one.reason or "error", one.detail or ""))
            self._take(one)

    @property
    def started(self) -> str:
        """When the run began, UTC."""
        return f"{self._started:%Y-%m-%d %H:%M} UTC"

    def _count(self, outcome: str, reason: str | None) -> None:
        self._counts["seen"] += 1
        self._counts[outcome] += 1
        if reason is not None:
            self._reasons[reason] += 1

    def _take(self, one: CleanedFile) -> None:
        if one.shape is None or one.name is None or one.sha256 is None:
            return
        self._changes.update(one.changes)
        self._waived.update(one.waived)
        if self._listed:
            self._elements.update(one.shape.actions)
        study = (one.study or "no study", one.patient or "")
        files = self._studies.setdefault(study, [])
        if self._reported:
            # Only the report needs every file; without it the run stays small.
            files.append(StudyFile(one.name, one.sha256, one.shape, one.series))

    def studies(self) -> list[StudyFacts]:
        """Return what the report shows."""
        return [
            StudyFacts(study, patient or None, self._policy, tuple(files))
            for (study, patient), files in sorted(self._studies.items())
        ]

    def run(self) -> Run:
        """Return the finished run."""
        check_balance(self._counts)
        result: dict[str, Any] = {
            "policy": self._policy.name,
            "policy_digest": short(self._policy.digest()),
            "changes": dict(self._changes.most_common()),
            "waived": dict(sorted(self._waived.items())),
            "studies": len(self._studies),
        }
        if self._listed:
            result["would_change"] = [
                {"element": path, "keyword": keyword, "action": action, "why": why, "files": count}
                for (path, keyword, action, why), count in sorted(self._elements.items())
            ]
        return Run(
            run_id=self.facts.run_id,
            verb="deidentify",
            arguments={"policy_digest": self._policy.digest(), "dry_run": self._listed},
            outcome="done",
            counts=dict(self._counts),
            seconds=round(time.monotonic() - self._clock, 3),
            started_at=self._started.isoformat(),
            code_version=version("voxlake"),
            reasons=dict(self._reasons.most_common()),
            result=result | self.result,
        )


def _write_failed(path: Path, failed: Sequence[tuple[str, str, str]]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE)
    os.fchmod(descriptor, _PRIVATE)
    # Names of files may be bytes that are no text.
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("file", "reason", "detail"))
        writer.writerows(failed)
