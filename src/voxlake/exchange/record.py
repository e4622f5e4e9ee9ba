"""What every exported file says about where it comes from: no paths, no keys, pseudonyms only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from voxlake.exchange.selection import Task

__all__ = ["json_bytes", "mask_record", "record_of"]


def record_of(task: Task, run_id: str) -> dict[str, Any]:
    """The sources of a task.

    Parameters
    ----------
    task : Task
        What is exported.
    run_id : str
        Run that exports it.

    Returns
    -------
    dict
        Series and study, SOP Instance UID and SHA-256 of every instance (in slice order), plan, steps, run.
    """
    first = task.rows[0]
    record: dict[str, Any] = {
        "study_instance_uid": first["study_instance_uid"],
        "series_instance_uid": first["series_instance_uid"],
        "modality": first["modality"],
        "sources": [_source(row) for row in task.rows],
        "run_id": run_id,
    }
    if task.volume is not None:
        volume = task.volume
        record |= {
            "volume_id": volume["volume_id"],
            "plan_digest": volume["plan_digest"],
            "unit": volume["unit"],
            "steps": list(volume["steps"]),
            "values_sha256": volume["sha256"],
            "grid": json.loads(volume["grid"]),
        }
    if task.masks:
        record["masks"] = [mask_record(mask) for mask in task.masks]
        record["outlined_by"] = [_source(row) for row in task.outlined]
    return record


def mask_record(mask: Mapping[str, Any]) -> dict[str, Any]:
    """Labels and origin of a mask; the mask plan is null for what came with an object."""
    return {
        "mask_id": mask["mask_id"],
        "labels": json.loads(mask["labels"]),
        "kind": mask["kind"],
        "mask_plan_digest": mask["mask_plan_digest"],
        "source_sop_instance_uid": mask["sop_instance_uid"],
        "inputs": list(mask["inputs"]),
        "steps": list(mask["steps"]),
        "values_sha256": mask["sha256"],
    }


def json_bytes(values: Any) -> bytes:
    """JSON that people can read."""
    return json.dumps(values, indent=2, sort_keys=True).encode() + b"\n"


def _source(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"sop_instance_uid": row["sop_instance_uid"], "sha256": row["sha256"]}
