"""Extents along a network, checked before it is built. Knows no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from voxlake.core.errors import SettingsError

__all__ = ["Reduction", "check_axes", "check_per_axis", "check_statistics", "per_axis", "reduce_extents"]


class Reduction(NamedTuple):
    """One place where a network brings its maps to a smaller extent.

    Parameters
    ----------
    where : str
        What to call it in a message, for example ``"stage 2"``.
    stride : int or tuple of int
        By which factor, for all axes or one for each.
    floor : bool
        Whether an incomplete step at the end is left out, as pooling without padding does.
    """

    where: str
    stride: int | tuple[int, ...]
    floor: bool = False


def check_axes(dimensions: int, shape: Sequence[int]) -> None:
    """Refuse images whose number of axes is not that of the network.

    Raises
    ------
    SettingsError
        Another number of axes.
    """
    if len(shape) != dimensions:
        raise SettingsError(
            f"a network with dimensions = {dimensions} got images with {len(shape)} axes "
            f"{tuple(shape)}: set dimensions = {len(shape)} or prepare other images"
        )


def check_per_axis(name: str, value: int | tuple[int, ...], dimensions: int) -> None:
    """Refuse a setting with one value for each axis that has another number of them.

    Raises
    ------
    ValueError
        For validators of settings, which make a `SettingsError` of it.
    """
    if isinstance(value, tuple) and len(value) != dimensions:
        raise ValueError(f"{len(value)} values of {name} for dimensions = {dimensions}")


def check_statistics(normalisation: str, extents: tuple[int, ...], advice: str) -> None:
    """Refuse instance normalisation of maps that have a single place: all of them would be zero.

    Parameters
    ----------
    normalisation : str
        That of the network.
    extents : tuple of int
        Of its smallest maps.
    advice : str
        As for `reduce_extents`.

    Raises
    ------
    SettingsError
        There is nothing to take a deviation of.
    """
    if normalisation == "instance" and math.prod(extents) == 1:
        raise SettingsError(
            "normalisation = 'instance' of maps with a single place has nothing to take a deviation of; "
            f"set normalisation = 'batch' or 'group', {advice} or take larger images"
        )


def per_axis(value: int | tuple[int, ...], dimensions: int) -> tuple[int, ...]:
    """One value for each axis."""
    return value if isinstance(value, tuple) else (value,) * dimensions


def reduce_extents(
    dimensions: int, shape: Sequence[int], reductions: Sequence[Reduction], advice: str
) -> tuple[int, ...]:
    """Extent after the last reduction.

    Parameters
    ----------
    dimensions : int
        Axes of the images that the network is built for.
    shape : sequence of int
        Extent of the input: (H, W) or (D, H, W).
    reductions : sequence of Reduction
        In the order in which the network makes them.
    advice : str
        What to do about images that are too small, for the message.

    Raises
    ------
    SettingsError
        Another number of axes, or an extent that is smaller than the stride that it meets: there is nothing
        left to reduce.
    """
    check_axes(dimensions, shape)
    extents = tuple(shape)
    for where, stride, floor in reductions:
        strides = per_axis(stride, dimensions)
        if any(extent < step for extent, step in zip(extents, strides, strict=True)):
            raise SettingsError(
                f"images of {tuple(shape)} are too small: {where} gets {extents} and reduces it by "
                f"{strides}; {advice} or take larger images"
            )
        extents = tuple(
            extent // step if floor else -(-extent // step)
            for extent, step in zip(extents, strides, strict=True)
        )
    return extents
