"""Pictures of volumes with masks over them."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import count
from math import sqrt
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from voxlake.core.volume import Volume
from voxlake.evaluation.planes import Plane, planes_through, shown_at

__all__ = ["Colour", "colour_of", "overlaid", "sheet_picture"]

Colour: TypeAlias = tuple[int, int, int]

# Told apart with every kind of colour vision (Okabe and Ito, 2008, "Color Universal Design").
_FIRST: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
)
# Steps of this part of the circle never come back to the same hue.
_GOLDEN = 0.6180339887498949
_COLOURS = 128
# Sum over red, green and blue, for the first; of more colours each has less room.
_APART = 200.0
_INSIDE, _EDGE = 0.38, 0.95
_LONGEST, _LONGEST_ALONE = 176, 256
_GAP = 4


def colour_of(number: int) -> Colour:
    """Colour of the label with a number, from 0: RGB, 0 to 255; the first seven suit every colour vision."""
    palette = _palette()
    return palette[number % len(palette)]


@lru_cache(maxsize=1)
def _palette() -> tuple[Colour, ...]:
    """All colours, each as far from those before it as so many of them allow."""
    chosen = list(_FIRST)
    for candidate in map(_candidate, count()):
        apart = min(sum(abs(a - b) for a, b in zip(candidate, one, strict=True)) for one in chosen)
        if apart > _APART / sqrt(len(chosen)):
            chosen.append(candidate)
        if len(chosen) == _COLOURS:
            break
    return tuple(chosen)


def _candidate(number: int) -> Colour:
    lightness = (0.62, 0.45, 0.76, 0.54, 0.35)[number % 5]
    red, green, blue = colorsys.hls_to_rgb((number * _GOLDEN) % 1, lightness, 0.75)
    return round(255 * red), round(255 * green), round(255 * blue)


def sheet_picture(
    volume: Volume, labels: NDArray[Any] | None, colours: Mapping[int, Colour]
) -> NDArray[np.uint8]:
    """Three planes side by side, or a flat image, with a mask over them.

    Parameters
    ----------
    volume : Volume
        Scalar or RGB; may be lazy.
    labels : ndarray of integers or None
        Values of a mask on its grid, (slices, rows, columns).
    colours : mapping of int to RGB
        Colour of each value; others, and 0, leave the image as it is.

    Returns
    -------
    ndarray of uint8
        (rows, columns, 3). Grey goes from the 1st to the 99th percentile of what is shown.
    """
    planes = planes_through(volume, labels)
    longest = _LONGEST if len(planes) > 1 else _LONGEST_ALONE
    extent = max(length for plane in planes for length in plane.extent)
    # A single small image is not blown up: its pixels are what there is to see.
    scale = longest / extent if len(planes) > 1 else min(longest / extent, 1 / min(planes[0].spacing))
    visible = planes if volume.channels == 3 else _windowed(planes)
    shown = [shown_at(plane, scale) for plane in visible]
    return _side_by_side([overlaid(_picture(plane), plane.labels, colours) for plane in shown])


def overlaid(
    image: NDArray[np.uint8], labels: NDArray[Any] | None, colours: Mapping[int, Colour]
) -> NDArray[np.uint8]:
    """Lay a mask over an RGB picture: inside translucent, the outline of each label nearly solid.

    Parameters
    ----------
    image : ndarray of uint8
        (rows, columns, 3).
    labels : ndarray of integers or None
        (rows, columns).
    colours : mapping of int to RGB
        Colour of each value.

    Returns
    -------
    ndarray of uint8
        (rows, columns, 3).
    """
    if labels is None:
        return image
    opacity = np.where(_outline(labels), _EDGE, _INSIDE)[..., None]
    result = image.astype(np.float64)
    for value, colour in colours.items():
        here = labels == value
        result[here] += (np.asarray(colour) - result[here]) * opacity[here]
    return np.asarray(result.round(), dtype=np.uint8)


def _outline(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels of a label with a neighbour of another value; the border of the picture is no outline."""
    edge = np.zeros(labels.shape, dtype=bool)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    outline: NDArray[np.bool_] = edge & (labels != 0)
    return outline


def _windowed(planes: Sequence[Plane]) -> list[Plane]:
    """Grey from 0 to 255; done before pixels are averaged, so that a hot voxel is no brighter than white."""
    numbers = np.concatenate([plane.values[np.isfinite(plane.values)] for plane in planes]).astype(np.float64)
    low, high = np.percentile(numbers, (1, 99)) if numbers.size else (0.0, 0.0)
    if high <= low and numbers.size:
        low, high = numbers.min(), numbers.max()
    return [replace(plane, values=_grey(plane.values, float(low), float(high))) for plane in planes]


def _grey(values: NDArray[Any], low: float, high: float) -> NDArray[np.float64]:
    if high <= low:
        return np.zeros(values.shape)
    numbers = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    return np.asarray(np.clip((numbers - low) / (high - low), 0, 1) * 255)


def _picture(plane: Plane) -> NDArray[np.uint8]:
    pixels = np.clip(plane.values, 0, 255).round().astype(np.uint8)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def _side_by_side(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    height = max(picture.shape[0] for picture in pictures)
    width = sum(picture.shape[1] for picture in pictures) + _GAP * (len(pictures) - 1)
    whole = np.zeros((height, width, 3), dtype=np.uint8)
    left = 0
    for picture in pictures:
        top = (height - picture.shape[0]) // 2
        whole[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        left += picture.shape[1] + _GAP
    return whole
