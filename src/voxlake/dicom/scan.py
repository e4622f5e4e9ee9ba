"""A data set to one row of the `instances` table, without decoding pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import pyarrow as pa
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from voxlake.dicom.elements import number, numbers, raw_values, text, texts, whole
from voxlake.dicom.frames import (
    MACROS,
    FrameGroups,
    frame_count,
    frame_groups,
    frame_orientations,
    frame_positions,
    has_pixels,
)
from voxlake.dicom.guard import quiet
from voxlake.dicom.physics import read_physics
from voxlake.dicom.references import read_references
from voxlake.dicom.tags import tags_as_json
from voxlake.store.schema import HEADER_COLUMNS

__all__ = ["header_columns", "scan"]

Reader = Callable[[Dataset, str], Any]

_READERS: Mapping[pa.DataType, Reader] = MappingProxyType(
    {
        pa.string(): text,
        pa.float64(): number,
        pa.int64(): whole,
        pa.list_(pa.string()): texts,
        pa.list_(pa.float64()): numbers,
    }
)
_PIXELS = (0x7FE00010, 0x7FE00008, 0x7FE00009)


def scan(dataset: Dataset, data: bytes | None = None, *, tags: bool = True) -> dict[str, Any]:
    """Read the columns of one instance from its header.

    Parameters
    ----------
    dataset : Dataset
        From `voxlake.dicom.read.read_dataset`.
    data : bytes, optional
        The bytes that are stored. With them ``pixel_offset`` and ``pixel_length`` are found, such that
        ``data[offset:offset + length]`` is the value of the pixel data.
    tags : bool
        Whether every element is written to ``tags``; otherwise that is None.

    Returns
    -------
    dict
        All header and derived columns of `voxlake.store.schema`, the UIDs, ``patient_id``,
        ``transfer_syntax_uid``, ``pixel_offset``, ``pixel_length`` and ``tags``. A value that is absent or
        cannot be parsed is None. In multi-frame objects the functional groups come first; a scalar is filled
        if all frames agree.
    """
    with quiet():
        row = header_columns(dataset)
        row["pixel_offset"], row["pixel_length"] = _pixel_range(dataset, data)
        row["tags"] = tags_as_json(dataset) if tags else None
    return row


def header_columns(dataset: Dataset) -> dict[str, Any]:
    """Read what `scan` reads without ``tags`` and without the place of the pixel data."""
    groups = frame_groups(dataset)
    row = {
        column.name: _value(dataset, groups, column.tag, _READERS[column.type]) for column in HEADER_COLUMNS
    }
    row |= _identity(dataset)
    row |= _plane(dataset, groups)
    row |= {
        "number_of_frames": frame_count(dataset),
        "rescale_slope": _value(dataset, groups, "RescaleSlope", number),
        "rescale_intercept": _value(dataset, groups, "RescaleIntercept", number),
        "rescale_type": _value(dataset, groups, "RescaleType", text),
        "window_center": _value(dataset, groups, "WindowCenter", number),
        "window_width": _value(dataset, groups, "WindowWidth", number),
    }
    return row | read_physics(dataset) | read_references(dataset)


def _value(dataset: Dataset, groups: FrameGroups, keyword: str, read: Reader) -> Any:
    if groups and keyword in MACROS:
        found = groups.each(keyword, read)
        if found:
            return found[0] if all(value == found[0] for value in found) else None
    return read(dataset, keyword)


def _identity(dataset: Dataset) -> dict[str, str | None]:
    meta = getattr(dataset, "file_meta", None)
    return {
        "sop_instance_uid": text(dataset, "SOPInstanceUID"),
        "series_instance_uid": text(dataset, "SeriesInstanceUID"),
        "study_instance_uid": text(dataset, "StudyInstanceUID"),
        "patient_id": text(dataset, "PatientID"),
        "transfer_syntax_uid": text(meta, "TransferSyntaxUID") if meta is not None else None,
    }


def _plane(dataset: Dataset, groups: FrameGroups) -> dict[str, list[float] | None]:
    several = (frame_count(dataset) or 1) > 1
    return {
        "pixel_spacing": _value(dataset, groups, "PixelSpacing", _of_length(2)),
        "image_position_patient": (
            None if several else _value(dataset, groups, "ImagePositionPatient", _of_length(3))
        ),
        "image_orientation_patient": _value(dataset, groups, "ImageOrientationPatient", _of_length(6)),
        "frame_positions": frame_positions(dataset, groups),
        "frame_orientations": frame_orientations(dataset, groups),
    }


def _of_length(count: int) -> Reader:
    return lambda dataset, keyword: numbers(dataset, keyword, count)


def _pixel_range(dataset: Dataset, data: bytes | None) -> tuple[int | None, int | None]:
    """Where the value of the pixel data lies in the stored bytes; the length is None if it is undefined."""
    meta = getattr(dataset, "file_meta", None)
    syntax = text(meta, "TransferSyntaxUID") if meta is not None else None
    if data is None or not has_pixels(dataset) or syntax == DeflatedExplicitVRLittleEndian:
        return None, None
    tag = next(tag for tag in _PIXELS if tag in dataset)
    values = raw_values(dataset, tag)
    if not values or not isinstance(values[0], bytes):
        return None, None
    offset, undefined = _position(dataset, tag)
    # The position is where pydicom read the value. It holds for `data` only if the value stands there: a
    # data set that was changed or made in memory remembers another file, or nothing.
    if offset is None or data[offset : offset + len(values[0])] != values[0]:
        return None, None
    return offset, None if undefined else len(values[0])


def _position(dataset: Dataset, tag: int) -> tuple[int | None, bool]:
    element = dataset[tag]
    position = getattr(element, "file_tell", None)
    return (int(position) if position else None), bool(element.is_undefined_length)
