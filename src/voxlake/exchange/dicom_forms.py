"""The forms that are DICOM objects: originals, segmentations, structure sets, reports, captures."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from voxlake.core.digest import digest_json, short
from voxlake.core.errors import ItemError
from voxlake.core.volume import Label
from voxlake.dicom.write_capture import write_capture
from voxlake.dicom.write_common import Sources, derived_uid, read_sources
from voxlake.dicom.write_rtstruct import RegionToWrite, write_rtstruct
from voxlake.dicom.write_seg import write_seg
from voxlake.dicom.write_sr import first_order, write_sr
from voxlake.exchange.forms import (
    FORMS,
    Form,
    Made,
    Options,
    Writer,
    stored_bytes,
    volume_values,
)
from voxlake.exchange.picture import pictures, window_of
from voxlake.exchange.place import safe_name
from voxlake.exchange.regions import ShareKind, grid_of, regions, shares, values_under
from voxlake.exchange.selection import Task
from voxlake.lake.lake import Lake
from voxlake.privacy.release import release_facts

__all__ = ["ALL_FORMS", "MASK_FORMS"]

MASK_FORMS = frozenset({"dicom-seg", "dicom-rtstruct", "dicom-sr"})
"""Forms of which there is one for each object that gave masks."""

_LONGEST = 64


def _original(lake: Lake, task: Task, options: Options, record: Mapping[str, Any]) -> Made:
    del options, record
    row = task.rows[0]
    if row["format"] != "dicom":
        raise ItemError("not_dicom", f"the instance is a {row['format']} file; export it as nifti or png")
    return {f"{_folder(task)}/{safe_name(row['sop_instance_uid'])}.dcm": stored_bytes(lake, row)}


def _seg(lake: Lake, task: Task, options: Options, record: Mapping[str, Any]) -> Made:
    del record
    means: ShareKind = "OCCUPANCY"
    if options.segments == "fractional":
        segments, grid, means = shares(lake, task)
    else:
        segments, grid = regions(lake, task)
    data, _ = write_seg(
        segments,
        grid,
        _sources(lake, task),
        kind=options.segments,
        fractional_type=means,
        uids=_uids(task, options),
        algorithm=_algorithm(task),
        description=_description(task),
    )
    return {_path(task, options): data}


def _rtstruct(lake: Lake, task: Task, options: Options, record: Mapping[str, Any]) -> Made:
    del record
    segments, grid = regions(lake, task)
    outlined = [RegionToWrite(label, inside) for label, inside in segments]
    data = write_rtstruct(
        outlined, grid, _sources(lake, task), uids=_uids(task, options), description=_description(task)
    )
    return {_path(task, options): data}


def _sr(lake: Lake, task: Task, options: Options, record: Mapping[str, Any]) -> Made:
    """A report, and the segmentation that it is about: without it the report would point nowhere."""
    del record
    segments, grid = regions(lake, task)
    values, unit = values_under(lake, task)
    if values.ndim != 3:
        raise ItemError("shape_mismatch", "colours are not measured")
    numbered = [Label(number, label.name, label.code) for number, (label, _) in enumerate(segments, 1)]
    measured = [
        one
        for label, (_, inside) in zip(numbered, segments, strict=True)
        for one in first_order(label.value, values, inside, grid, unit)
    ]
    sources = _sources(lake, task)
    of_seg = Options("dicom-seg")
    seg_data, seg = write_seg(
        segments,
        grid,
        sources,
        uids=_uids(task, of_seg),
        algorithm=_algorithm(task),
        description=_description(task),
    )
    report = write_sr(numbered, measured, seg, sources, uids=_uids(task, options))
    return {_path(task, of_seg): seg_data, _path(task, options): report}


def _capture(lake: Lake, task: Task, options: Options, record: Mapping[str, Any]) -> Made:
    volume, first = _volume(task), task.rows[0]
    window = options.window or window_of(volume, first)
    frames, scaling = pictures(volume_values(lake, volume), bits=8, window=window)
    grid = grid_of(volume)
    shown = "" if scaling is None else f", values {scaling.lowest:g} to {scaling.highest:g}"
    digests = ", ".join(short(one["sha256"]) for one in record["sources"][:4])
    data = write_capture(
        np.asarray(frames, dtype=np.uint8),
        _sources(lake, task) if first["format"] == "dicom" else None,
        uids=_uids(task, options),
        patient_id=first["patient_id"] or "",
        study_instance_uid=first["study_instance_uid"],
        spacing=None if grid.flat else grid.spacing[1:],
        burned_in=any(release_facts(row).unchecked for row in task.rows),
        description=f"{_description(task)}{shown}; run {record['run_id']}; from SHA-256 {digests}",
    )
    return {_path(task, options): data}


def _sources(lake: Lake, task: Task) -> Sources:
    return read_sources(stored_bytes(lake, task.rows[0]), task.rows)


def _volume(task: Task) -> Mapping[str, Any]:
    if task.volume is None:
        raise ItemError("no_volume", "nothing was prepared under this plan")
    return task.volume


def _algorithm(task: Task) -> str | None:
    """What made the masks; None for those that came with an object, of which the lake does not know it."""
    mask = task.masks[0]
    return None if mask["sop_instance_uid"] is not None else (mask["steps"] or ["voxlake"])[-1]


def _description(task: Task) -> str:
    if task.volume is None:
        return f"mask {task.item[:12]} of the series, plan {short(task.masks[0]['mask_plan_digest'])}"
    return f"volume {task.item[:12]}, plan {short(task.volume['plan_digest'])}"[:_LONGEST]


def _uids(task: Task, options: Options) -> tuple[str, str]:
    """SOPInstanceUID, and the UID of a series for each image series and form."""
    form = digest_json({"form": options.form, "segments": options.segments, "window": options.window})
    inputs = [row["sha256"] for row in (*task.masks, *([] if task.volume is None else [task.volume]))]
    series = task.rows[0]["series_instance_uid"]
    return derived_uid(task.item, form, *inputs), derived_uid(series, form)


def _path(task: Task, options: Options) -> str:
    kind = options.form.removeprefix("dicom-")
    return f"{_folder(task)}/{task.item[:16]}_{kind}.dcm"


def _folder(task: Task) -> str:
    first = task.rows[0]
    return f"{safe_name(first['study_instance_uid'])}/{safe_name(first['series_instance_uid'])}"


ALL_FORMS: Mapping[Form, Writer] = MappingProxyType(
    {
        **FORMS,
        "dicom": _original,
        "dicom-seg": _seg,
        "dicom-rtstruct": _rtstruct,
        "dicom-sr": _sr,
        "dicom-sc": _capture,
    }
)
"""All writers."""
