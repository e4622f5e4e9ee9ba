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
    from voxlake.lake.cohorts import Cohort, cohort_list, cohort_show, get_cohort, select
    from voxlake.lake.ingest import ingest
    from voxlake.lake.keys import keys_show
    from voxlake.lake.label import label
    from voxlake.lake.lake import Lake
    from voxlake.lake.lake import open_lake as open  # noqa: A004 - as in tarfile.open, h5py, zarr
    from voxlake.lake.lineage import trace
    from voxlake.lake.pseudonym import pseudonym
    from voxlake.lake.quarantine import quarantine_list, quarantine_show
    from voxlake.lake.rekey import keys_rekey
    from voxlake.lake.rotate import keys_rotate
    from voxlake.lake.sql import sql
    from voxlake.learning.predict import predict
    from voxlake.learning.task import Task, load_task
    from voxlake.learning.train import train
    from voxlake.main_job import demo
    from voxlake.processing.registry import load_plan
    from voxlake.volumes.prepare import prepare
    from voxlake.volumes.read import iter_volumes

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
    "get_cohort": ("voxlake.lake.cohorts", "get_cohort"),
    "iter_volumes": ("voxlake.volumes.read", "iter_volumes"),
    "load_plan": ("voxlake.processing.registry", "load_plan"),
    "load_task": ("voxlake.learning.task", "load_task"),
    "open": ("voxlake.lake.lake", "open_lake"),
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
    "cohort_list",
    "cohort_show",
    "deidentify",
    "demo",
    "evaluate",
    "get_cohort",
    "ingest",
    "iter_volumes",
    "keys_rekey",
    "keys_rotate",
    "keys_show",
    "label",
    "load_plan",
    "load_task",
    "open",
    "predict",
    "prepare",
    "pseudonym",
    "quarantine_list",
    "quarantine_show",
    "report",
    "select",
    "sql",
    "trace",
    "train",
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
