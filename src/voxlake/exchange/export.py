"""The verb export: images, masks and measurements out of the lake, through the release check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from voxlake.core.digest import digest_json, short
from voxlake.core.errors import ItemError, NotFoundError, UsageError
from voxlake.core.plan import Plan
from voxlake.core.run import Run
from voxlake.engine.contract import Engine
from voxlake.engine.open import using_engine
from voxlake.engine.progress import progress_bar
from voxlake.exchange.bids import bids_dataset, participant_of
from voxlake.exchange.choice import chosen_plan
from voxlake.exchange.dicom_forms import MASK_FORMS
from voxlake.exchange.exporting import Exported, Exporting
from voxlake.exchange.forms import Form, Options
from voxlake.exchange.picture import parse_window
from voxlake.exchange.place import Manifest, write_file
from voxlake.exchange.selection import (
    Missing,
    Task,
    assembled_mask_tasks,
    instance_tasks,
    mask_tasks,
    volume_tasks,
)
from voxlake.lake.cohorts import Cohort
from voxlake.lake.grouped import Lost, map_groups
from voxlake.lake.recorder import Recorder, start_run
from voxlake.lake.withdrawals import account_withdrawn
from voxlake.privacy.release import ReleaseTerms, check_release, release_facts
from voxlake.volumes.segment_work import AS_ASSEMBLED

__all__ = ["export"]

# A group is what a worker takes at a time: one volume, or some instances.
_INSTANCES = 16
_GROUPS_PER_WORKER = 8


def export(  # noqa: PLR0913 - each option of the command is a parameter
    cohort: Cohort,
    folder: str | Path,
    *,
    to: Form,
    plan: str | Path | Plan | None = None,
    masks: bool = True,
    window: str | None = None,
    bits: Literal[8, 16] = 8,
    segments: Literal["binary", "fractional", "labelmap"] = "binary",
    release_identified: str | None = None,
    release_unchecked: str | None = None,
    engine: str | Engine | None = None,
    workers: int | None = None,
    timeout: float = 600.0,
    memory: int = 8 * 2**30,
    progress: bool | None = None,
    metrics: str | Path | None = None,
) -> Run:
    """Write a cohort out of the lake: images, masks, measurements.

    Whatever leaves passes a release check: nothing of patients who have withdrawn; nothing that nobody
    de-identified, and no pixels that nobody checked, unless a reason is given, which the run records. What is
    held back is a rejected item with the reason. Every file names what it was made from. Only what is missing
    in the folder is written.

    Parameters
    ----------
    cohort : Cohort
        What to export.
    folder : path
        Where the files go; made if it is not there. Names in it are made of identifiers only.
    to : str
        ``"nifti"``, ``"nrrd"``, ``"png"``, ``"zarr"`` or ``"bids"``: prepared volumes with their masks.
        ``"dicom"``: the objects as they are stored, compressed storage undone. ``"dicom-seg"``,
        ``"dicom-rtstruct"``: masks. ``"dicom-sr"``: volume and intensities under masks, with the segmentation
        that they are about. ``"dicom-sc"``: pictures of volumes.
    plan : str, path or Plan, optional
        Under which plan the cohort was prepared; needed only if it was under more than one. For masks also
        ``"as-assembled"``: those that `segment` made of the series without preparing them.
    masks : bool
        Whether volumes are accompanied by their masks.
    window : str, optional
        Centre and width of grey values in pictures, for example ``40/400``; by default the window of the
        device where it fits the values, else all values.
    bits : int
        Of PNG pictures: 8 or 16.
    segments : str
        DICOM segmentations hold ``"binary"`` segments or are a ``"labelmap"``; ``"fractional"`` writes the
        shares of fractional segmentations that came into the lake, and fails for masks without shares.
    release_identified : str, optional
        Why objects may leave that nobody de-identified (policy ``none``).
    release_unchecked : str, optional
        Why objects may leave whose pixels nobody checked for burned-in text.
    engine : str, optional
        ``"serial"`` or ``"processes:N"``; by default a process for each core. Workers write the files, so
        the folder has to be one that all of them see.
    workers : int, optional
        How many processes the default engine has.
    timeout : float
        Seconds that one item may take.
    memory : int
        Bytes that one worker may take.
    progress : bool, optional
        Whether to show a progress bar; by default only on a terminal.
    metrics : path, optional
        File that says how the run goes, for Prometheus; written every few seconds.

    Returns
    -------
    Run
        With the balance: seen = stored (written) + already there + rejected + failed.

    Raises
    ------
    UsageError
        The folder is a file or lies in the lake; the window is none; several plans and none is named;
        ``"as-assembled"`` for a form that is not of masks.
    NotFoundError
        The cohort was not prepared, or has no masks.
    SettingsError
        A reason is shorter than ten characters.

    Examples
    --------
    >>> export(brains, "out/", to="nifti")  # doctest: +SKIP
    """
    terms = ReleaseTerms.read(
        {"identified": release_identified, "unchecked": release_unchecked}, where="the reasons for release"
    )
    options = Options(to, parse_window(window), bits, segments)
    digest = chosen_plan(cohort, to, plan)
    place = Path(folder).absolute()
    _check_place(cohort, place)
    arguments = {
        "cohort": f"{cohort.name}@{cohort.version}",
        "cohort_id": cohort.cohort_id,
        "to": to,
        "plan_digest": digest or None,
        "masks": masks,
        "window": window,
        "bits": bits,
        "segments": segments,
        "release": terms.model_dump(),
    }
    tasks = _tasks(cohort, to, digest, masks=masks)
    with start_run(cohort.lake, "export", arguments, metrics=metrics) as recorder:
        recorder.input_digest = cohort.cohort_id
        account_withdrawn(cohort, recorder)
        manifest = Manifest.open(place)
        desk = _Desk(cohort, manifest, recorder, terms, digest_json(_keyed(options, masks=masks)))
        work = Exporting(cohort.lake.reference, place, options, recorder.run_id)
        with (
            using_engine(engine, workers) as pool,
            progress_bar("export", enabled=progress, counts=recorder.counts) as bar,
        ):
            recorder.facts.workers = pool.workers
            for groups in _windows(desk.missing(tasks), pool.workers, _INSTANCES if to == "dicom" else 1):
                results = map_groups(pool, work, groups, timeout=timeout, memory=memory)
                desk.settle(list(chain(*groups)), list(chain(*results)))
                recorder.commit_if_due()
                bar.advance(sum(map(len, groups)))
        if to == "bids":
            _describe(manifest)
        manifest.finish()
        recorder.result |= desk.result()
        if to in MASK_FORMS and not recorder.counts["seen"]:
            raise NotFoundError(
                f"cohort '{cohort.name}' has no masks under this plan; "
                f"run `voxlake prepare {cohort.name} --masks` or `voxlake segment {cohort.name}`"
            )
    return recorder.run


class _Desk:
    """Where tasks are let through or not, and where what became of them is written down."""

    def __init__(
        self, cohort: Cohort, manifest: Manifest, recorder: Recorder, terms: ReleaseTerms, options: str
    ) -> None:
        self._manifest = manifest
        self._recorder = recorder
        self._terms = terms
        self._options = options
        self._withdrawn = frozenset(
            row[0]
            for row in cohort.lake.sql(
                "select patient_id from withdrawals where patient_id is not null"
            ).rows()
        )
        self._files: Counter[str] = Counter()

    def missing(self, tasks: Iterable[Task | Missing]) -> Iterator[Task]:
        """The tasks that may leave and are not there yet; of all others the outcome is recorded."""
        for task in tasks:
            self._recorder.saw()
            if isinstance(task, Missing):
                self._recorder.outcome(task.item, "failed", reason=task.reason, detail=task.detail)
                continue
            try:
                for row in (*task.rows, *task.outlined):
                    check_release(release_facts(row), self._terms, self._withdrawn)
            except ItemError as error:
                self._recorder.outcome(task.item, "rejected", reason=error.reason, detail=error.message)
                continue
            if self._manifest.holds(self._key(task)):
                files = self._manifest.files(self._key(task))
                self._recorder.outcome(task.item, "already", detail="; ".join(files))
            else:
                yield task

    def settle(self, tasks: Iterable[Task], results: Iterable[Exported | Lost]) -> None:
        """Record what became of tasks; the list in the folder first: no row names what is not there."""
        pairs = list(zip(tasks, results, strict=True))
        self._manifest.add(
            self._line(task, one) for task, one in pairs if isinstance(one, Exported) and one.reason is None
        )
        for task, one in pairs:
            if isinstance(one, Lost):
                failure = one.failure
                self._recorder.outcome(
                    task.item, "failed", reason=failure.reason, detail=failure.message, attempts=one.attempts
                )
            elif one.reason is not None:
                self._recorder.outcome(task.item, "failed", reason=one.reason, detail=one.detail)
            else:
                self._files.update(Path(file.path).suffix for file in one.files)
                self._recorder.facts.bytes += sum(file.size for file in one.files)
                detail = "; ".join(f"{file.path} {file.sha256}" for file in one.files)
                self._recorder.outcome(task.item, "stored", detail=detail)

    def result(self) -> dict[str, Any]:
        """What the run wrote."""
        return {
            "files": sum(self._files.values()),
            "kinds": dict(sorted(self._files.items())),
            "bytes": self._recorder.facts.bytes,
        }

    def _key(self, task: Task) -> str:
        masks = [mask["mask_id"] for mask in task.masks]
        return f"{task.item}:{short(digest_json([self._options, masks]))}"

    def _line(self, task: Task, one: Exported) -> dict[str, Any]:
        first = task.rows[0]
        return {
            "key": self._key(task),
            "item": task.item,
            "files": [{"path": f.path, "sha256": f.sha256, "size": f.size} for f in one.files],
            "participant": participant_of(first["patient_id"], first["study_instance_uid"]),
            "sex": first["patient_sex"],
            "age": first["patient_age"],
            **(one.record or {}),
        }


def _keyed(options: Options, *, masks: bool) -> dict[str, Any]:
    return {**vars(options), "masks": masks}


def _tasks(cohort: Cohort, to: Form, digest: str, *, masks: bool) -> Iterator[Task | Missing]:
    if to == "dicom":
        return instance_tasks(cohort)
    if digest == AS_ASSEMBLED:
        return assembled_mask_tasks(cohort)
    if to in MASK_FORMS:
        return mask_tasks(cohort, digest)
    return volume_tasks(cohort, digest, masks=masks and to != "dicom-sc")


def _check_place(cohort: Cohort, folder: Path) -> None:
    root = cohort.lake.objects.local_path("")
    if root is not None and folder.resolve().is_relative_to(root.resolve()):
        raise UsageError("the folder lies in the lake; export to one outside of it")


def _windows(tasks: Iterable[Task], workers: int, size: int) -> Iterator[list[list[Task]]]:
    left = iter(tasks)
    while window := list(islice(left, size * _GROUPS_PER_WORKER * workers)):
        yield [window[start : start + size] for start in range(0, len(window), size)]


def _describe(manifest: Manifest) -> None:
    lines: list[Mapping[str, Any]] = [line for line in manifest.lines() if "participant" in line]
    paths = chain.from_iterable(line["files"] for line in lines)
    derived = any(one["path"].startswith("derivatives/") for one in paths)
    for path, data in bids_dataset(lines, masks=derived).items():
        write_file(manifest.folder, path, data)
