"""Parts of a series that cannot be one volume by their geometry: other size, spacing, frame, orientation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.dicom.geometry import ANGLE, TOLERANCE
from voxlake.dicom.planes import Plane, is_mosaic, is_projection, is_untiled

__all__ = ["Region", "regions_of"]

Float = NDArray[np.float64]

# Orientations closer than this (radians, one degree) and yet not equal are the scatter of a bad series, and
# not views that somebody planned.
_APART = np.radians(1.0)
# More views than that nobody plans; it also bounds the search in hostile objects.
_MOST_VIEWS = 128
_VIEWS = ("sagittal", "coronal", "axial")


@dataclass(frozen=True, eq=False)
class Region:
    """Planes that may be slices of one volume.

    Parameters
    ----------
    label : tuple of (str, str)
        What tells it from the other regions.
    planes : tuple of Plane
        In the order in which they came.
    """

    label: tuple[tuple[str, str], ...]
    planes: tuple[Plane, ...]


def regions_of(planes: Sequence[Plane], rows: Sequence[Mapping[str, Any]]) -> list[Region]:
    """Part planes by kind, size, pixel spacing, frame of reference and orientation.

    Returns
    -------
    list of Region
        In the order of the first image number in each. One region with an empty label if the planes cannot
        be parted cleanly, because orientations scatter.
    """
    spacings: list[tuple[float, float]] = []
    orientations: list[Float] = []
    keys: dict[tuple[Any, ...], list[Plane]] = {}
    for plane in planes:
        key = _key(plane, rows[plane.instance])
        if plane.placed:
            key = (*key, _spacing(plane, spacings), _orientation(plane, orientations))
        else:
            key = (*key, -1, -1)
        if max(len(orientations), len(spacings)) > _MOST_VIEWS:
            return [Region((), tuple(planes))]
        keys.setdefault(key, []).append(plane)
    if _scattered(orientations):
        return [Region((), tuple(planes))]
    texts = [_texts(key, members[0]) for key, members in keys.items()]
    differ = [name for name in texts[0] if len({text[name] for text in texts}) > 1]
    found = [
        Region(tuple((name, text[name]) for name in differ), tuple(members))
        for text, members in zip(texts, keys.values(), strict=True)
    ]
    return sorted(found, key=lambda region: _first_number(region, rows))


def _key(plane: Plane, row: Mapping[str, Any]) -> tuple[Any, ...]:
    if is_projection(row):
        kind = "localizer"
    elif is_mosaic(row) and not is_untiled(row):
        kind = "mosaic"
    else:
        kind = "slice" if plane.placed else "without a place"
    colour, frame = plane.kind[:-1], plane.kind[-1]
    return (kind, plane.shape if kind == "slice" else None, colour, frame)


def _spacing(plane: Plane, known: list[tuple[float, float]]) -> int:
    """Number of the pixel spacing among those seen so far."""
    spacing = np.array(plane.spacing)
    for number, other in enumerate(known):
        if (np.abs(spacing - other) * plane.shape <= TOLERANCE * spacing).all():
            return number
    known.append((float(spacing[0]), float(spacing[1])))
    return len(known) - 1


def _orientation(plane: Plane, known: list[Float]) -> int:
    """Number of the orientation among those seen so far."""
    cosines = np.asarray(plane.orientation)
    for number, other in enumerate(known):
        if _angle(cosines, other) <= ANGLE:
            return number
    known.append(cosines)
    return len(known) - 1


def _angle(one: Float, other: Float) -> float:
    return float(np.linalg.norm((one - other).reshape(2, 3), axis=1).max())


def _scattered(orientations: Sequence[Float]) -> bool:
    return any(
        _angle(one, other) < _APART
        for place, one in enumerate(orientations)
        for other in orientations[place + 1 :]
    )


def _texts(key: tuple[Any, ...], plane: Plane) -> dict[str, str]:
    kind, _, colour, frame, spacing, _ = key
    return {
        "kind": " ".join(str(part) for part in (kind, *colour) if part is not None),
        "size": "x".join(map(str, plane.shape)),
        "pixel_spacing": "" if spacing < 0 else " ".join(f"{part:.6g}" for part in plane.spacing or ()),
        "frame_of_reference": str(frame or ""),
        "orientation": _view(plane.orientation) if plane.placed else "",
    }


def _view(cosines: Float | None) -> str:
    """The nearest plane of the body, and the normal if it is oblique."""
    if cosines is None:
        return ""
    normal = np.cross(cosines[:3], cosines[3:])
    name = _VIEWS[int(np.abs(normal).argmax())]
    if np.abs(normal).max() > 1 - 1e-6:
        return name
    return f"{name} ({', '.join(f'{part:.3f}' for part in normal)})"


def _first_number(region: Region, rows: Sequence[Mapping[str, Any]]) -> tuple[float, int]:
    numbers = [rows[plane.instance].get("instance_number") for plane in region.planes]
    return min((float(n) for n in numbers if n is not None), default=np.inf), region.planes[0].instance
