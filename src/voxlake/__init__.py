"""voxlake: an imaging lake.

>>> import voxlake as vl
>>> lake = vl.open("./lake")  # doctest: +SKIP
>>> vl.ingest(lake, "pacs-export/")  # doctest: +SKIP
>>> vl.sql(lake, "select modality, count(*) from series group by 1").df()  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from voxlake.verbs import VERBS

if TYPE_CHECKING:
    from voxlake.core.errors import VoxlakeError
    from voxlake.core.grid import Grid
    from voxlake.core.plan import Plan
    from voxlake.core.run import Run
    from voxlake.core.volume import Mask, Volume
    from voxlake.evaluation.evaluate import evaluate
    from voxlake.evaluation.report import report
    from voxlake.exchange.deidentify import deidentify
    from voxlake.exchange.export import export
    from voxlake.features.measure import measure
    from voxlake.lake.changes import changes
    from voxlake.lake.check import check
    from voxlake.lake.cohort_diff import cohort_diff
    from voxlake.lake.cohort_split import cohort_split
    from voxlake.lake.cohorts import Cohort, cohort_list, cohort_show, get_cohort, select
    from voxlake.lake.compact import compact
    from voxlake.lake.erase import erase
    from voxlake.lake.find import find
    from voxlake.lake.ingest import ingest
    from voxlake.lake.keys import keys_show
    from voxlake.lake.label import label
    from voxlake.lake.lake import Lake
    from voxlake.lake.lake import open_lake as open  # noqa: A004 - as in tarfile.open, h5py, zarr
    from voxlake.lake.leakage import cohort_leakage
    from voxlake.lake.lineage import trace
    from voxlake.lake.manifest import cohort_export
    from voxlake.lake.manifest_check import cohort_verify
    from voxlake.lake.originals import original_bytes
    from voxlake.lake.pseudonym import pseudonym
    from voxlake.lake.quarantine import quarantine_list, quarantine_show
    from voxlake.lake.receipts import receipt
    from voxlake.lake.rekey import keys_rekey
    from voxlake.lake.rotate import keys_rotate
    from voxlake.lake.sql import sql
    from voxlake.lake.verify import verify
    from voxlake.lake.withdrawals import withdraw
    from voxlake.learning.arrays import fit_arrays
    from voxlake.learning.embed import embed
    from voxlake.learning.export_model import models_export
    from voxlake.learning.mine import mine
    from voxlake.learning.predict import predict
    from voxlake.learning.task import Task, load_task
    from voxlake.learning.train import train
    from voxlake.main_job import demo
    from voxlake.processing.registry import load_plan
    from voxlake.volumes.frames import read_frame
    from voxlake.volumes.masks_read import iter_masks, read_masks
    from voxlake.volumes.patches import random_patches, read_patch
    from voxlake.volumes.prepare import prepare
    from voxlake.volumes.pretrained_models import models_import, models_list
    from voxlake.volumes.read import iter_volumes
    from voxlake.volumes.segment import segment
    from voxlake.volumes.series import read_series

_NOUNS = {
    "Cohort": ("voxlake.lake.cohorts", "Cohort"),
    "Grid": ("voxlake.core.grid", "Grid"),
    "Lake": ("voxlake.lake.lake", "Lake"),
    "Mask": ("voxlake.core.volume", "Mask"),
    "Plan": ("voxlake.core.plan", "Plan"),
    "Run": ("voxlake.core.run", "Run"),
    "Task": ("voxlake.learning.task", "Task"),
    "Volume": ("voxlake.core.volume", "Volume"),
    "VoxlakeError": ("voxlake.core.errors", "VoxlakeError"),
    "fit_arrays": ("voxlake.learning.arrays", "fit_arrays"),
    "get_cohort": ("voxlake.lake.cohorts", "get_cohort"),
    "iter_masks": ("voxlake.volumes.masks_read", "iter_masks"),
    "iter_volumes": ("voxlake.volumes.read", "iter_volumes"),
    "load_plan": ("voxlake.processing.registry", "load_plan"),
    "load_task": ("voxlake.learning.task", "load_task"),
    "open": ("voxlake.lake.lake", "open_lake"),
    "original_bytes": ("voxlake.lake.originals", "original_bytes"),
    "read_masks": ("voxlake.volumes.masks_read", "read_masks"),
    "random_patches": ("voxlake.volumes.patches", "random_patches"),
    "read_frame": ("voxlake.volumes.frames", "read_frame"),
    "read_patch": ("voxlake.volumes.patches", "read_patch"),
    "read_series": ("voxlake.volumes.series", "read_series"),
    "trace": ("voxlake.lake.lineage", "trace"),
}
_EXPORTS = _NOUNS | {verb.function: (verb.module, verb.function) for verb in VERBS}

__all__ = [
    "Cohort",
    "Grid",
    "Lake",
    "Mask",
    "Plan",
    "Run",
    "Task",
    "Volume",
    "VoxlakeError",
    "changes",
    "check",
    "cohort_diff",
    "cohort_export",
    "cohort_leakage",
    "cohort_list",
    "cohort_show",
    "cohort_split",
    "cohort_verify",
    "compact",
    "deidentify",
    "demo",
    "embed",
    "erase",
    "evaluate",
    "export",
    "find",
    "fit_arrays",
    "get_cohort",
    "ingest",
    "iter_masks",
    "iter_volumes",
    "keys_rekey",
    "keys_rotate",
    "keys_show",
    "label",
    "load_plan",
    "load_task",
    "measure",
    "mine",
    "models_export",
    "models_import",
    "models_list",
    "open",
    "original_bytes",
    "predict",
    "prepare",
    "pseudonym",
    "quarantine_list",
    "quarantine_show",
    "random_patches",
    "read_frame",
    "read_masks",
    "read_patch",
    "read_series",
    "receipt",
    "recipe",
    "report",
    "segment",
    "select",
    "sql",
    "trace",
    "train",
    "verify",
    "withdraw",
]


def __getattr__(name: str) -> Any:
    # Names are resolved on first use: torch, DuckDB and the rest load only when they are needed.
    if name not in _EXPORTS:
        raise AttributeError(f"module 'voxlake' has no attribute '{name}'")
    module, attribute = _EXPORTS[name]
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
