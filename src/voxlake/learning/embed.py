"""The verb embed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voxlake.core.digest import digest_json
from voxlake.core.errors import NotFoundError, UsageError
from voxlake.core.plan import Plan
from voxlake.core.run import Run
from voxlake.engine.contract import Engine
from voxlake.engine.open import using_engine
from voxlake.engine.progress import progress_bar
from voxlake.engine.workers import engine_with_workers
from voxlake.lake.cohorts import Cohort
from voxlake.lake.grouped import Lost
from voxlake.lake.recorder import Recorder, start_run
from voxlake.lake.withdrawals import account_withdrawn
from voxlake.learning.embed_work import Embedded, Embedding
from voxlake.learning.predict_spread import Spreading, in_groups
from voxlake.learning.rows import network_embedding_rows
from voxlake.learning.units import Unit
from voxlake.networks.known_encoder import KnownEncoder
from voxlake.networks.pretrained_encoders import known_encoder
from voxlake.volumes.read import plan_digest_of, volume_rows

__all__ = ["EXTENT", "embed"]

EXTENT = 257
"""Rows and columns of a slice as an encoder sees it, unless another number is asked for."""

_SMALLEST = 33
# So many volumes go to a worker together, and at most so many voxels: 128 MiB.
_TOGETHER = 64
_VOXELS = 2**25


def embed(  # noqa: PLR0913 - each option of the command is a parameter
    cohort: Cohort,
    *,
    model: str,
    volumes: str | Path | Plan | None = None,
    extent: int = EXTENT,
    engine: str | Engine | None = None,
    workers: int | None = None,
    timeout: float = 600.0,
    memory: int = 8 * 2**30,
    progress: bool | None = None,
    metrics: str | Path | None = None,
) -> Run:
    """Keep what a pre-trained encoder sees in every volume of a cohort, as vectors.

    The vectors are rows of `embeddings`, under the name of the encoder: an input of ``source =
    "embeddings"`` of a task that is mined, for classes, clusters or similar cases where there are few labels
    or none. The encoder has learned from photographs and nothing from the lake, so they may be made before a
    cohort is split. Values are scaled so that the smallest of the volume is black and the largest white: a
    plan that cuts off extremes helps. The vector of a volume of many slices is the mean over its slices. Only
    what is missing is done.

    Parameters
    ----------
    cohort : Cohort
        What to look at; it must have been prepared.
    model : str
        Name of an encoder that was imported, ``"efficientnet-lite0"`` or ``"efficientnet-lite1"``.
    volumes : str, path or Plan, optional
        Plan under which the cohort was prepared; needed only if there are several.
    extent : int
        Rows and columns that each slice is brought to, whatever its shape; 33 at least. One more than a
        multiple of 32 is seen exactly as by the makers of the network.
    engine : str, optional
        ``"serial"``, ``"processes:N"`` or a cluster; by default this process, in which the encoder already
        works on all cores.
    workers : int, optional
        So many processes, if no engine is named.
    timeout : float
        Seconds that one volume may take, on an engine other than ``"serial"``.
    memory : int
        Bytes that one worker may take, on an engine other than ``"serial"``.
    progress : bool, optional
        Whether to show a progress bar; by default only on a terminal.
    metrics : path, optional
        File that says how the run goes, for Prometheus; written every few seconds.

    Returns
    -------
    Run
        An item for each volume, and for each series that has none; ``result["embedding"]`` is the identifier
        of the vectors.

    Raises
    ------
    NotFoundError
        There is no such encoder, it was not imported, or the cohort was not prepared.
    UsageError
        The cohort was prepared under several plans and none is named, or the extent is too small.

    Examples
    --------
    >>> embed(breasts, model="efficientnet-lite1")  # doctest: +SKIP
    """
    encoder = known_encoder(model)
    if extent < _SMALLEST:
        raise UsageError(f"extent is {extent}, the network needs {_SMALLEST} rows and columns at least")
    lake, prepared = cohort.lake, plan_digest_of(cohort, volumes)
    made = digest_json({"model": encoder.model_id, "plan": prepared, "extent": extent})[:24]
    work = Embedding(lake.reference, encoder.name, extent)
    arguments = {
        "cohort": f"{cohort.name}@{cohort.version}",
        "cohort_id": cohort.cohort_id,
        "model": encoder.model_id,
        "volumes_digest": prepared,
        "extent": extent,
    }
    spreading = Spreading(engine_with_workers(engine, workers) or "serial", timeout, memory, progress)
    with start_run(lake, "embed", arguments, metrics=metrics) as recorder:
        recorder.input_digest = cohort.cohort_id
        account_withdrawn(cohort, recorder)
        new = _new(cohort, prepared, made, recorder)
        with (
            using_engine(spreading.engine) as pool,
            progress_bar("embed", len(new), enabled=progress, counts=recorder.counts) as bar,
        ):
            recorder.facts.workers = pool.workers
            if new:
                # What no volume can be blamed for ends the run here, instead of failing each of them.
                work.ready()
            groups = in_groups(new, _voxels, most=_TOGETHER, limit=_VOXELS)
            for row, found, last in spreading.results(pool, work, groups):
                _settle(recorder, cohort, encoder, made, row, found)
                bar.advance()
                if last:
                    recorder.commit_if_due()
        recorder.result |= {
            "embedding": made,
            "model": encoder.name,
            "coordinates": encoder.coordinates,
            "cohort": f"{cohort.name}@{cohort.version}",
        }
    return recorder.run


def _new(cohort: Cohort, prepared: str, made: str, recorder: Recorder) -> list[dict[str, Any]]:
    """Rows of the volumes that have no vector yet; all others are settled at once."""
    rows = volume_rows(cohort, prepared)
    if not rows:
        raise NotFoundError(
            f"cohort '{cohort.name}' has no volume under this plan; run `voxlake prepare {cohort.name}` first"
        )
    there = {row["series_instance_uid"] for row in rows}
    for member in cohort.members():
        if member.series_instance_uid not in there:
            recorder.saw()
            detail = "not prepared under this plan; see why with `voxlake prepare`"
            recorder.outcome(member.series_instance_uid, "failed", reason="no_volume", detail=detail)
    recorder.saw(len(rows))
    found = cohort.lake.sql("select distinct subject from embeddings where embedding_id = $id", {"id": made})
    done = {str(row[0]) for row in found.rows()}
    for row in rows:
        if row["volume_id"] in done:
            recorder.outcome(row["volume_id"], "already")
    return [row for row in rows if row["volume_id"] not in done]


def _settle(
    recorder: Recorder,
    cohort: Cohort,
    encoder: KnownEncoder,
    made: str,
    row: Mapping[str, Any],
    found: Embedded | Lost,
) -> None:
    item = str(row["volume_id"])
    if isinstance(found, Lost):
        failure = found.failure
        recorder.outcome(
            item, "failed", reason=failure.reason, detail=failure.message, attempts=found.attempts
        )
        return
    if found.vector is None:
        recorder.outcome(item, "failed", reason=found.reason, detail=found.detail)
        return
    rows = network_embedding_rows(
        [Unit("volume", item, row["patient_id"], (dict(row),))],
        found.vector[None],
        name=encoder.name,
        model_id=encoder.model_id,
        cohort_id=cohort.cohort_id,
        embedding_id=made,
    )
    recorder.add("embeddings", rows)
    recorder.outcome(item, "stored")


def _voxels(row: Mapping[str, Any]) -> int:
    return math.prod(row["shape"])
