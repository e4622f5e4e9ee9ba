"""What may tell images at one place apart: echo, time point, b-value, phase of the heart, kind of image."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.dicom.planes import Plane

__all__ = ["Label", "as_text", "labels_of", "sequence_of"]

Row = Mapping[str, Any]
Whole = NDArray[np.int64]

_GRADIENT = "diffusion_gradient"

# Columns of `instances` and names in `frame_values`, what is best to call a volume by first. What numbers
# images (time point, acquisition) comes after what says how they were taken.
_NAMES = (
    "image_type",
    "frame_type",
    "complex_component",
    "series_number",
    "echo_time",
    "echo_numbers",
    "inversion_time",
    "flip_angle",
    "kvp",
    "convolution_kernel",
    "contrast_bolus_agent",
    "diffusion_b_value",
    _GRADIENT,
    "segment",
    "temporal_position",
    "cardiac_phase",
    "respiratory_phase",
    "trigger_delay",
    "trigger_time",
    "frame_reference_time",
    "acquisition_number",
    "dimension_1",
    "dimension_2",
    "dimension_3",
    "dimension_4",
    "dimension_5",
)
# The column where it has another name.
_COLUMN = {"temporal_position": "temporal_position_identifier"}
# These only count: they are named where nothing else tells the volumes apart.
_COUNTERS = frozenset({"acquisition_number", *(name for name in _NAMES if name.startswith("dimension_"))})


@dataclass(frozen=True, eq=False)
class Label:
    """One attribute over some planes.

    Parameters
    ----------
    name : str
        As in `stacks.label`.
    values : tuple
        Value of each plane, hashable.
    codes : array of int
        Number of the value of each plane, in the order of the values, (n,).
    """

    name: str
    values: tuple[Hashable, ...]
    codes: Whole

    @property
    def ordered(self) -> bool:
        """Whether the values are numbers, so that their order means something."""
        return all(value is None or isinstance(value, float) for value in self.values)

    @property
    def counts_only(self) -> bool:
        """Whether it numbers images without saying how they were taken."""
        return self.name in _COUNTERS


def labels_of(rows: Sequence[Row], planes: Sequence[Plane]) -> list[Label]:
    """Every attribute that differs among the planes, what is best to name a volume by first."""
    extras = _extras(rows, planes)
    found = []
    for name in _NAMES:
        of_row = {instance: _hashable(rows[instance].get(_COLUMN.get(name, name))) for instance in extras}
        values = tuple(
            _hashable(_at(extras[plane.instance], name, plane.frame))
            if name in extras[plane.instance]
            else of_row[plane.instance]
            for plane in planes
        )
        if len(set(values)) > 1:
            found.append(Label(name, values, _codes(values)))
    return found


def sequence_of(rows: Sequence[Row], planes: Sequence[Plane]) -> list[tuple[float, ...]]:
    """Where each plane stands in the order of acquisition: times first, then the number of the image."""
    extras = _extras(rows, planes)

    def of(plane: Plane) -> tuple[float, ...]:
        extra = extras[plane.instance]
        times = (_at(extra, name, plane.frame) for name in ("trigger_time", "frame_reference_time"))
        # The tiles of a mosaic are slices of one moment.
        frame = 0 if rows[plane.instance].get("mosaic_tiles") else plane.frame
        numbers = (*times, rows[plane.instance].get("instance_number"), frame)
        return tuple(-np.inf if value is None else float(value) for value in numbers)

    return [of(plane) for plane in planes]


def as_text(value: Hashable) -> str:
    """A value as it stands in a label; numbers with six digits."""
    if value is None:
        return ""
    if isinstance(value, float | int):
        return f"{value:.6g}"
    if isinstance(value, tuple):
        separator = "\\" if any(isinstance(part, str) for part in value) else " "
        return separator.join(f"{part:.3g}" if isinstance(part, float) else str(part) for part in value)
    return str(value)


def _extras(rows: Sequence[Row], planes: Sequence[Plane]) -> dict[int, dict[str, Any]]:
    """`frame_values` of the row of every plane."""
    found: dict[int, dict[str, Any]] = {}
    for instance in dict.fromkeys(plane.instance for plane in planes):
        text = rows[instance].get("frame_values")
        found[instance] = json.loads(text) if text else {}
    return found


def _at(extra: Mapping[str, Any], name: str, frame: int) -> Any:
    value = extra.get(name)
    # A gradient is a list of three numbers; all other lists have one value for each frame.
    if not isinstance(value, list) or (name == _GRADIENT and isinstance(value[0], float | int)):
        return value
    return value[frame] if frame < len(value) else None


def _hashable(value: Any) -> Hashable:
    if isinstance(value, str) and "\\" in value:
        return tuple(value.split("\\"))
    if isinstance(value, list | tuple):
        return tuple(_hashable(part) for part in value)
    return float(value) if isinstance(value, int) else value


def _codes(values: Sequence[Hashable]) -> Whole:
    places = {value: number for number, value in enumerate(sorted(set(values), key=_sortable))}
    return np.array([places[value] for value in values], dtype=np.int64)


def _sortable(value: Hashable) -> tuple[Any, ...]:
    """Nothing first, then numbers by size, then the rest as text."""
    if value is None:
        return (0, 0.0, "")
    if isinstance(value, float | int):
        return (1, float(value), "")
    return (2, 0.0, repr(value))
