"""The verb ingest: files in, rows and packs out, nothing lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from voxlake.core.digest import short
from voxlake.core.errors import ItemError, UsageError
from voxlake.core.run import Run
from voxlake.engine.contract import Engine
from voxlake.engine.open import using_engine
from voxlake.engine.progress import progress_bar
from voxlake.lake.admit import Admission
from voxlake.lake.grouped import Lost, stream_groups
from voxlake.lake.in_place import check_in_place
from voxlake.lake.intake import Intake, source_mac
from voxlake.lake.lake import Lake
from voxlake.lake.originals import Compression
from voxlake.lake.quarantine import item_id, quarantined
from voxlake.lake.recorder import Recorder, start_run
from voxlake.lake.series import refresh_series
from voxlake.lake.taken import Taken
from voxlake.lake.watch import keep_ingesting
from voxlake.privacy.policy import Policy, load_policy
from voxlake.privacy.pseudonym_list import PseudonymListReference, Unlisted
from voxlake.sources.item import Item, Source
from voxlake.sources.mapping import load_mapping
from voxlake.sources.open import open_source

__all__ = ["ingest"]

# A group is what a worker takes at a time and what one pack may hold. Groups are admitted in source order, so
# that which of two conflicting files comes first never depends on which worker was faster; a window is how
# many may wait for a slow one before them.
_GROUP_FILES = 64
_GROUP_BYTES = 64 * 2**20
_WINDOW_GROUPS_PER_WORKER = 16
_UNKNOWN_SIZE = 2**20


def ingest(  # noqa: PLR0913 - each option of the command is a parameter
    lake: Lake,
    *sources: str | Path | Source,
    policy: str | Path | None = None,
    mapping: str | Path | None = None,
    pseudonyms: str | Path | None = None,
    unlisted: Unlisted = "keyed",
    in_place: bool = False,
    compress: Compression | None = None,
    engine: str | Engine | None = None,
    workers: int | None = None,
    timeout: float = 60.0,
    memory: int = 4 * 2**30,
    limit: int = 4 * 2**30,
    progress: bool | None = None,
    metrics: str | Path | None = None,
    watch: bool = False,
    every: float = 10.0,
    each_run: Callable[[Run], object] | None = None,
) -> Run:
    """Bring images into the lake.

    DICOM, PNG, JPEG, TIFF, NIfTI and NRRD are kept, de-identified unless the policy says otherwise; every
    other object of DICOM is catalogued too. What cannot be taken in goes to quarantine with a reason. Run it
    again at any time: it brings in what is missing.

    Parameters
    ----------
    lake : Lake
        The lake, with its key.
    *sources : str, Path or Source
        Folders, files, archives (zip, tar), a DICOMDIR, ``-`` for an archive on standard input,
        ``s3://bucket/prefix`` (``gs://``, ``az://``) or ``phantoms:?patients=40&seed=1``.
    policy : str or path, optional
        ``"research"``, ``"basic"``, ``"none"`` or a TOML file; by default the policy of the lake.
    mapping : path, optional
        TOML or CSV file that gives patient, label and modality by path.
    pseudonyms : path, optional
        CSV file with the columns ``original`` and ``pseudonym``: patients whose pseudonyms somebody else gave
        out. It is read, never stored.
    unlisted : str
        With `pseudonyms`, what becomes of the patients who are not in it: ``"keyed"`` gives them the lake's
        own pseudonyms, ``"refuse"`` sends them to quarantine.
    in_place : bool
        Register files where they lie instead of copying them into the lake; they must stay there. Needs
        policy ``"none"``. Members of archives are stored as always.
    compress : str, optional
        ``"htj2k"`` stores native DICOM pixels as lossless High-Throughput JPEG 2000 where that is smaller and
        proven to give the same file back (`original_bytes`).
    engine : str, optional
        ``"serial"`` or ``"processes:N"``; by default a process for each core.
    workers : int, optional
        How many processes the default engine has.
    timeout : float
        Seconds that one file may take.
    memory : int
        Bytes that one worker may take.
    limit : int
        Bytes of the largest file that is taken in.
    progress : bool, optional
        Whether to show a progress bar; by default only on a terminal.
    metrics : path, optional
        File that says how the run goes, for Prometheus; written every few seconds.
    watch : bool
        Keep ingesting folders: look again and again, take in what has come and is complete, until Ctrl-C.
    every : float
        With `watch`, seconds between two looks; a file must not have changed for so long.
    each_run : callable, optional
        With `watch`, called with the `Run` of every pass.

    Returns
    -------
    Run
        With the balance: seen = stored + already there + quarantined + rejected + ignored.

    Raises
    ------
    NotFoundError
        A source is not there.
    KeyMismatchError
        This machine does not have the key of the lake.

    Examples
    --------
    >>> ingest(lake, "pacs-export/")  # doctest: +SKIP
    >>> ingest(lake, "xrays/", mapping="mapping.toml")  # doctest: +SKIP
    """
    if not sources:
        raise UsageError("ingest needs at least one source: a folder, a file, an archive, a bucket")
    rules = load_policy(policy) if policy is not None else lake.policy
    if in_place:
        check_in_place(rules)
        if compress is not None:
            raise UsageError("files that are registered in place stay as they are: leave compress out")
    if watch:
        again = partial(
            ingest,
            lake,
            policy=policy,
            mapping=mapping,
            pseudonyms=pseudonyms,
            unlisted=unlisted,
            in_place=in_place,
            compress=compress,
            engine=engine,
            workers=workers,
            timeout=timeout,
            memory=memory,
            limit=limit,
            progress=progress,
            metrics=metrics,
        )
        return keep_ingesting(lambda found: again(*found), sources, every=every, each_run=each_run)
    table = load_mapping(mapping) if mapping is not None else None
    opened = [open_source(source, mapping=table) for source in sources]
    patients = _patients(lake, rules, pseudonyms, unlisted)
    lake.lookup.sync(lake.tables)
    arguments: dict[str, Any] = {
        "sources": len(opened),
        "policy": rules.model_dump(mode="json"),
        "policy_digest": rules.digest(),
        "labels_digests": [source.labels_digest for source in opened],
        "key_fingerprint": lake.key.fingerprint,
        "pseudonyms": None if patients is None else [patients.digest, patients.unlisted],
    }
    with start_run(lake, "ingest", arguments, metrics=metrics) as recorder:
        job = _Job(lake, recorder, Intake(lake.reference, rules, limit, patients, in_place, compress))
        changes: Counter[str] = Counter()
        with (
            using_engine(engine, workers) as pool,
            progress_bar("ingest", enabled=progress, counts=recorder.counts) as bar,
        ):
            recorder.facts.workers = pool.workers
            for source in opened:
                for group, taken in job.take(source, pool, timeout=timeout, memory=memory):
                    changes.update(job.admit(group, taken, source.labels_digest))
                    recorder.facts.bytes += sum(item.size or 0 for item in group)
                    bar.reach(recorder.settled)
        recorder.commit()
        recorder.result |= {
            "policy": rules.name,
            "policy_digest": short(rules.digest()),
            "changes": dict(changes.most_common()),
            "waived": dict(sorted(job.admission.waived.items())),
            "series": refresh_series(lake, recorder),
        }
    return recorder.run


def _patients(
    lake: Lake, rules: Policy, pseudonyms: str | Path | None, unlisted: Unlisted
) -> PseudonymListReference | None:
    if pseudonyms is None:
        if unlisted != "keyed":
            raise UsageError(
                f"unlisted '{unlisted}' needs a list: name one with pseudonyms=... or --pseudonyms"
            )
        return None
    if rules.profile == "none":
        raise UsageError("policy 'none' keeps identifiers as they are, so a list of pseudonyms has no effect")
    return PseudonymListReference.make(pseudonyms, unlisted, lake.key)


class _Job:
    """The driver's side of one ingest."""

    def __init__(self, lake: Lake, recorder: Recorder, intake: Intake) -> None:
        self.lake = lake
        self.recorder = recorder
        self.intake = intake
        self.policy: Policy = intake.policy
        self.admission = Admission(lake, recorder, self.policy.digest())

    def wanted(self, items: Iterable[Item]) -> Iterator[Item]:
        """Count every item as it comes and drop those that are ignored."""
        for item in items:
            self.recorder.saw()
            if item.ignored is None:
                yield item
            else:
                self.recorder.outcome(item_id(self.lake, item.name), "ignored", reason=item.ignored)

    def take(
        self, source: Source, engine: Engine, *, timeout: float, memory: int
    ) -> Iterator[tuple[Sequence[Item], list[Taken]]]:
        """Take in the items of a source, group by group in source order."""
        done = stream_groups(
            engine,
            self.intake,
            _groups(self.wanted(source)),
            window=_WINDOW_GROUPS_PER_WORKER * engine.workers,
            timeout=timeout,
            memory=memory,
        )
        for group, results in done:
            yield (
                group,
                [
                    self._lost(item, one) if isinstance(one, Lost) else one
                    for item, one in zip(group, results, strict=True)
                ],
            )

    def admit(self, group: Sequence[Item], taken: Sequence[Taken], labels_digest: str | None) -> Counter[str]:
        """Add the rows of a group; returns what de-identification changed, and how often."""
        self.admission.admit(group, taken, labels_digest)
        changes: Counter[str] = Counter()
        for one in taken:
            changes.update(one.changes)
        return changes

    def _lost(self, item: Item, lost: Lost) -> Taken:
        """Quarantine an item whose worker died, hung or ran out of memory; the bytes are read, not parsed."""
        reason, detail = lost.failure.reason, lost.failure.message
        data, mac = None, None
        try:
            data = item.read(self.intake.limit)
            mac = source_mac(self.lake, data)
        except ItemError as error:
            reason, detail = error.reason, error.message
        row = quarantined(
            self.lake,
            item.name,
            data,
            mac=mac,
            policy_digest=self.policy.digest(),
            reason=reason,
            detail=detail,
        )
        name = item_id(self.lake, item.name)
        return Taken(
            name, "quarantined", mac, quarantine=row, reason=reason, detail=detail, attempts=lost.attempts
        )


def _groups(items: Iterable[Item]) -> Iterator[tuple[Item, ...]]:
    group: list[Item] = []
    size = 0
    for item in items:
        group.append(item)
        size += item.size if item.size is not None else _UNKNOWN_SIZE
        if len(group) >= _GROUP_FILES or size >= _GROUP_BYTES:
            yield tuple(group)
            group, size = [], 0
    if group:
        yield tuple(group)
