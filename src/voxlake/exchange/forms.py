"""The forms that are files of a volume: from a task to bytes by path."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxlake.core.digest import short
from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid
from voxlake.core.volume import Label
from voxlake.dicom.write_seg import SegmentKind
from voxlake.exchange.bids import bids_files
from voxlake.exchange.nifti import nifti_bytes
from voxlake.exchange.nrrd import nrrd_bytes, segment_fields
from voxlake.exchange.picture import pictures, png_bytes, window_of
from voxlake.exchange.place import safe_name
from voxlake.exchange.record import json_bytes, mask_record
from voxlake.exchange.selection import Task
from voxlake.lake.lake import Lake
from voxlake.lake.originals import restored
from voxlake.store.arrays import read_array, read_stack_item, value_digest, write_volume
from voxlake.store.objects import Objects
from voxlake.store.packs import read_member

__all__ = ["FORMS", "Form", "Options", "labels_of", "mask_values", "stored_bytes", "volume_values"]

Form = Literal[
    "nifti", "nrrd", "png", "zarr", "bids", "dicom", "dicom-seg", "dicom-rtstruct", "dicom-sr", "dicom-sc"
]
"""What can be exported."""

_DIGITS = 16


@dataclass(frozen=True)
class Options:
    """How files are written.

    Parameters
    ----------
    form : str
        One of `Form`.
    window : tuple of float or None
        Centre and width for pictures.
    bits : int
        Of pictures, 8 or 16.
    segments : str
        Kind of DICOM segmentations.
    """

    form: Form
    window: tuple[float, float] | None = None
    bits: Literal[8, 16] = 8
    segments: SegmentKind = "binary"


Made = dict[str, bytes]
Writer = Callable[[Lake, Task, Options, Mapping[str, Any]], Made]


def stored_bytes(lake: Lake, row: Mapping[str, Any]) -> bytes:
    """The bytes of an instance as it came in after de-identification: compressed storage is undone."""
    stored = read_member(lake.objects, row["pack"], row["offset"], row["length"], sha256=row["sha256"])
    return restored(stored, row)


def volume_values(lake: Lake, row: Mapping[str, Any]) -> NDArray[Any]:
    """The checked values of a row of `volumes` or `masks`."""
    if row["position"] is None:
        return read_array(lake.objects, row["array"], shards=row["shards"], sha256=row["sha256"])
    image = read_stack_item(lake.objects, row["array"], row["position"], shards=row["shards"])
    if value_digest(image) != row["sha256"]:
        raise ItemError("object_damaged", "the array does not hold the image that was prepared")
    return image[None]


def mask_values(lake: Lake, row: Mapping[str, Any]) -> NDArray[Any]:
    """The values of a row of `masks`; bool as uint8."""
    values = volume_values(lake, row)
    return values.astype(np.uint8) if values.dtype == np.bool_ else values


def labels_of(row: Mapping[str, Any]) -> tuple[Label, ...]:
    """The labels of a row of `masks`."""
    return tuple(
        Label(one["value"], one["name"], None if one["code"] is None else tuple(one["code"]))
        for one in json.loads(row["labels"])
    )


def stem_of(task: Task) -> str:
    """Where the files of a volume lie: study, series, identifier."""
    first = task.rows[0]
    study, series = safe_name(first["study_instance_uid"]), safe_name(first["series_instance_uid"])
    return f"{study}/{series}/{task.item[:_DIGITS]}"


def _grid(row: Mapping[str, Any]) -> Grid:
    return Grid.from_dict(json.loads(row["grid"]))


def _volume(task: Task) -> Mapping[str, Any]:
    if task.volume is None:
        raise ItemError("no_volume", "nothing was prepared under this plan")
    return task.volume


def _nifti(lake: Lake, task: Task, options: Options, record: Mapping[str, Any]) -> Made:
    del options
    volume, stem = _volume(task), stem_of(task)
    about = f"voxlake plan {short(volume['plan_digest'])}"
    made = {f"{stem}.nii.gz": nifti_bytes(volume_values(lake, volume), _grid(volume), description=about)}
    for mask in task.masks:
        name = f"{stem}_mask-{mask['mask_id'][:_DIGITS]}"
        made[f"{name}.nii.gz"] = nifti_bytes(mask_values(lake, mask), _grid(mask), description=about)
        made[f"{name}.json"] = json_bytes({**_of_mask(record), **mask_record(mask)})
    return {**made, f"{stem}.json": json_bytes(record)}


def _nrrd(lake: Lake, task: Task, options: Options, record: Mapping[str, Any]) -> Made:
    del options
    volume, stem = _volume(task), stem_of(task)
    about = {
        "series_instance_uid": record["series_instance_uid"],
        "sources": " ".join(one["sha256"] for one in record["sources"]),
        "plan_digest": record["plan_digest"],
        "run_id": record["run_id"],
    }
    made = {f"{stem}.nrrd": nrrd_bytes(volume_values(lake, volume), _grid(volume), about)}
    for mask in task.masks:
        values = mask_values(lake, mask)
        name = f"{stem}_mask-{mask['mask_id'][:_DIGITS]}"
        fields = {**about, **segment_fields(labels_of(mask), values)}
        made[f"{name}.seg.nrrd"] = nrrd_bytes(values, _grid(mask), fields)
        made[f"{name}.json"] = json_bytes({**_of_mask(record), **mask_record(mask)})
    return {**made, f"{stem}.json": json_bytes(record)}


def _png(lake: Lake, task: Task, options: Options, record: Mapping[str, Any]) -> Made:
    volume, stem = _volume(task), stem_of(task)
    values = volume_values(lake, volume)
    window = options.window or (window_of(volume, task.rows[0]) if options.bits == 8 else None)
    pixels, scaling = pictures(values, bits=options.bits, window=window)
    names = _names(stem, len(pixels))
    made = {name: png_bytes(picture) for name, picture in zip(names, pixels, strict=True)}
    for mask in task.masks:
        name = f"{stem}_mask-{mask['mask_id'][:_DIGITS]}"
        shown = mask_values(lake, mask)
        if shown.max(initial=0) > 65535:
            raise ItemError("shape_mismatch", "a mask with values over 65,535 does not fit into a PNG file")
        shown = shown.astype(np.uint8 if shown.max(initial=0) < 256 else np.uint16)
        for path, part in zip(_names(name, len(shown)), shown, strict=True):
            made[path] = png_bytes(part)
    said = {**record, "pixels": None if scaling is None else asdict(scaling), "bits": options.bits}
    return {**made, f"{stem}.json": json_bytes(said)}


def _zarr(lake: Lake, task: Task, options: Options, record: Mapping[str, Any]) -> Made:
    del options
    volume, stem = _volume(task), stem_of(task)
    made = _array(f"{stem}.zarr", volume_values(lake, volume), _grid(volume), record)
    for mask in task.masks:
        about = {**_of_mask(record), **mask_record(mask)}
        name = f"{stem}_mask-{mask['mask_id'][:_DIGITS]}.zarr"
        made |= _array(name, mask_values(lake, mask), _grid(mask), about)
    return made


def _array(path: str, values: NDArray[Any], grid: Grid, record: Mapping[str, Any]) -> Made:
    """An array of its own, also of an image that the lake keeps in a stack of images of other patients."""
    with TemporaryDirectory(prefix="voxlake-export-") as draft:
        info = write_volume(Objects.open(draft), "it", values, grid=grid, attributes={"record": record})
        folder = Path(draft) / info.array
        found = sorted(one for one in folder.rglob("*") if one.is_file())
        return {f"{path}/{one.relative_to(folder).as_posix()}": one.read_bytes() for one in found}


def _bids(lake: Lake, task: Task, options: Options, record: Mapping[str, Any]) -> Made:
    del options
    volume = _volume(task)
    values = volume_values(lake, volume)
    masks = [(mask, mask_values(lake, mask), _grid(mask)) for mask in task.masks]
    return bids_files(task, values, _grid(volume), masks, record)


def _names(stem: str, count: int) -> Sequence[str]:
    return [f"{stem}.png"] if count == 1 else [f"{stem}/{number:04d}.png" for number in range(1, count + 1)]


def _of_mask(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in ("masks", "values_sha256")}


FORMS: Mapping[Form, Writer] = MappingProxyType(
    {"nifti": _nifti, "nrrd": _nrrd, "png": _png, "zarr": _zarr, "bids": _bids}
)
"""Writers of the forms that need a prepared volume only."""
