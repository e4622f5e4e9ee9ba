"""Settings that several steps share: a shape, a spacing, a fill value."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

__all__ = ["Fill", "Length", "Shape", "Spacing", "Value", "resolve_shape", "resolve_spacing"]

_LARGEST = 3.4e38
KEEP: Literal["keep"] = "keep"
Length = int | Literal["keep"]


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_step(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read_axes(
    value: Any, valid: Callable[[Any], bool], counts: tuple[int, ...], what: str
) -> tuple[Any, ...]:
    items = tuple(value) if isinstance(value, list | tuple) else ()
    kept = tuple(KEEP if item is None else item for item in items)
    if len(kept) not in counts or not all(item == KEEP or valid(item) for item in kept):
        raise ValueError(what)
    return (KEEP,) * (3 - len(kept)) + kept


def _read_shape(value: Any) -> tuple[Any, ...]:
    what = (
        "a shape is [rows, columns] or [slices, rows, columns]: whole numbers from 1, "
        'or "keep" for an axis that stays as it is'
    )
    return _read_axes(value, _is_length, (2, 3), what)


def _read_spacing(value: Any) -> tuple[Any, ...]:
    what = (
        'a spacing is [slice, row, column] in mm: numbers above 0, or "keep" for an axis that stays as it is'
    )
    return _read_axes(value, _is_step, (3,), what)


def _read_fill(value: Any) -> Any:
    if value == "minimum" or (_is_number(value) and abs(value) <= _LARGEST):
        return value
    raise ValueError('a fill is a finite number or "minimum"')


Shape = Annotated[tuple[Length, Length, Length], BeforeValidator(_read_shape)]
"""Voxels per axis; ``"keep"`` (None in Python) keeps an axis, two numbers mean rows and columns."""

Spacing = Annotated[
    tuple[float | Literal["keep"], float | Literal["keep"], float | Literal["keep"]],
    BeforeValidator(_read_spacing),
]
"""Millimetres per axis; ``"keep"`` (None in Python) keeps an axis."""

Fill = Annotated[float | Literal["minimum"], BeforeValidator(_read_fill)]
"""Value of new voxels, or ``"minimum"`` for the smallest finite value of the volume given."""

Value = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST)]
"""A number that float32 holds, in the unit of the volume."""


def resolve_shape(shape: Sequence[Length], have: Sequence[int]) -> tuple[int, int, int]:
    """Replace ``"keep"`` by the size at hand."""
    slices, rows, columns = (
        int(old) if wanted == KEEP else int(wanted) for wanted, old in zip(shape, have, strict=True)
    )
    return slices, rows, columns


def resolve_spacing(
    spacing: Sequence[float | Literal["keep"]], have: Sequence[float]
) -> tuple[float, float, float]:
    """Replace ``"keep"`` by the spacing at hand, in mm."""
    slice_step, row_step, column_step = (
        float(old) if wanted == KEEP else float(wanted) for wanted, old in zip(spacing, have, strict=True)
    )
    return slice_step, row_step, column_step
