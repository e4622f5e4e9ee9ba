"""Air in the chest: lungs, trachea and bronchi."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from voxlake.processing.components import component_sizes, label_components
from voxlake.processing.distance import eroded

__all__ = ["airway_tree", "lung_space"]

Float = NDArray[np.float32]
Bool = NDArray[np.bool_]

# HU: lung with its partial volumes lies below, soft tissue above.
_AIR = -320.0
# HU: the middle of healthy and emphysematous lung lies above, that of gas (bowel, trachea) below.
_GAS = -940.0
# mm^3: what is smaller is no lung.
_LUNG = 15_000.0
# HU: the lumen of the trachea.
_LUMEN = -800.0
_TRACHEA_AREA = (40.0, 1200.0)
_TRACHEA_LENGTH = 20.0
# A step of the threshold that multiplies the tree by more than this has leaked into the lung.
_LEAK = 1.6
_THRESHOLDS = tuple(range(-950, -740, 10))


def lung_space(values: Float, spacing: Sequence[float], body: Bool) -> Bool:
    """Air of the body that is lung, with the airways as far as they are open to it; not gas of the bowel.

    Parameters
    ----------
    values : array
        HU, axial.
    spacing : three numbers
        mm.
    body : array of bool
        Where the body is, with what it encloses.
    """
    air = (values < _AIR) & body
    labels, count = label_components(air)
    sizes = component_sizes(labels, count) * float(np.prod(spacing))
    core = np.where(eroded(air, 1.01 * max(spacing[1:]), spacing), labels, 0)
    keep = np.zeros(count + 1, dtype=bool)
    for number in np.flatnonzero(sizes >= _LUNG):
        if number == 0:
            continue
        inside = values[core == number]
        keep[number] = inside.size > 0 and float(np.median(inside)) > _GAS
    return np.asarray(keep[labels])


def airway_tree(values: Float, spacing: Sequence[float], body: Bool, lungs: Bool) -> Bool:
    """Lumen of trachea and bronchi; nothing where there is no trachea.

    Parameters
    ----------
    values : array
        HU, axial, from the feet to the head.
    spacing : three numbers
        mm.
    body, lungs : array of bool
        The body, and what `lung_space` gave.
    """
    trachea = _trachea(values, spacing, body, lungs)
    if not trachea.any():
        return trachea
    tree = trachea
    least = float(trachea.sum())
    for threshold in _THRESHOLDS:
        labels, count = label_components(((values < threshold) & body) | trachea)
        keep = np.zeros(count + 1, dtype=bool)
        keep[np.unique(labels[trachea])] = True
        keep[0] = False
        grown = keep[labels]
        if tree is not trachea and grown.sum() > _LEAK * max(float(tree.sum()), least):
            break
        if tree is trachea and grown.sum() > 4 * least and grown.sum() > 0.1 * lungs.sum():
            break
        tree = grown
    return np.asarray(tree)


def _trachea(values: Float, spacing: Sequence[float], body: Bool, lungs: Bool) -> Bool:
    """The longest chain of round holes near the middle of the body, not below the middle of the lungs."""
    nothing = np.zeros(values.shape, dtype=bool)
    with_lung = np.flatnonzero(lungs.any(axis=(1, 2)))
    if with_lung.size == 0:
        return nothing
    weights = lungs.sum(axis=(1, 2), dtype=np.int64)
    middle = int(np.average(np.arange(len(weights)), weights=weights))
    chains: list[list[Bool]] = []
    starts: list[int] = []
    for number in range(middle, len(values)):
        holes = _holes(values[number], spacing, body[number])
        for hole in holes:
            place = next(
                (
                    index
                    for index, chain in enumerate(chains)
                    if starts[index] + len(chain) == number and (chain[-1] & hole).any()
                ),
                None,
            )
            if place is None:
                chains.append([hole])
                starts.append(number)
            else:
                chains[place].append(hole)
    if not chains:
        return nothing
    best = max(range(len(chains)), key=lambda index: len(chains[index]))
    if len(chains[best]) * spacing[0] < _TRACHEA_LENGTH:
        return nothing
    for offset, hole in enumerate(chains[best]):
        nothing[starts[best] + offset] = hole
    return nothing


def _holes(plane: Float, spacing: Sequence[float], body: Bool) -> list[Bool]:
    """Round holes of a size that a trachea has, near the middle of the body."""
    columns = np.flatnonzero(body.any(axis=0))
    if columns.size == 0:
        return []
    centre, width = (columns[0] + columns[-1]) / 2, columns[-1] - columns[0] + 1
    labels, count = label_components(((plane < _LUMEN) & body)[None])
    area = component_sizes(labels, count) * spacing[1] * spacing[2]
    found = []
    for number in range(1, count + 1):
        if not _TRACHEA_AREA[0] <= area[number] <= _TRACHEA_AREA[1]:
            continue
        hole = labels[0] == number
        rows, across = np.nonzero(hole)
        high = (np.ptp(rows) + 1) * spacing[1]
        wide = (np.ptp(across) + 1) * spacing[2]
        round_enough = max(high, wide) < 2.5 * min(high, wide) and area[number] > 0.5 * high * wide
        if round_enough and abs(across.mean() - centre) < 0.2 * width:
            found.append(hole)
    return found
