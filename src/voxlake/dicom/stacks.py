"""The volumes of a series: echoes, time points, b-values, phases, orientations; each a stack of its own.

A series that is one volume is never taken apart. Otherwise two things part it:

- what cannot be one volume by its geometry: size, pixel spacing, frame of reference, orientation
  (`voxlake.dicom.regions`);
- what tells images at one place apart. Sought is the smallest set of attributes (at most three) that leaves
  one image at each place in every stack, with no more stacks than the fullest place has images. If there is
  none, the attributes that fit are taken, and what is left is counted through in the order of
  acquisition if every place has equally many images. Where that fails too, the verdict of the stack is
  ``duplicates``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxlake.dicom.geometry import Kind, Verdict, judge_planes, same_height, sorted_planes
from voxlake.dicom.labels import Label, as_text, labels_of, sequence_of
from voxlake.dicom.planes import Plane, planes_of
from voxlake.dicom.regions import Region, regions_of

__all__ = ["Stack", "series_verdict", "split"]

Row = Mapping[str, Any]
Whole = NDArray[np.int64]

# From good to bad: the verdict of a series is the worst of its stacks.
_WORSE: tuple[Kind, ...] = ("regular", "flat", "gap", "uneven", "tilt", "duplicates", "mixed", "none")
_MOST_LABELS = 3
# Differences in these between parts of a series are a fault, and not several volumes of one examination.
_FAULTS = frozenset({"size", "pixel_spacing", "kind"})
_REPEAT = "repeat"


@dataclass(frozen=True)
class Stack:
    """Some planes of a series that belong together, judged by themselves.

    Parameters
    ----------
    number : int
        From 1, in a fixed order.
    label : tuple of (str, str)
        What tells it from the other stacks, for example ``(("echo_time", "4.6"),)``; empty for the only one.
    verdict : Verdict
        Its order counts in the rows that were split.
    by : tuple of str
        Names of the attributes that the series was split by.
    """

    number: int
    label: tuple[tuple[str, str], ...]
    verdict: Verdict
    by: tuple[str, ...] = ()

    @property
    def instances(self) -> tuple[int, ...]:
        """Rows that take part, in slice order, each once."""
        return tuple(dict.fromkeys(instance for instance, _ in self.verdict.order))

    def within(self, instances: Sequence[int]) -> Stack:
        """The stack counted in ``[rows[i] for i in instances]``."""
        place = {instance: number for number, instance in enumerate(instances)}
        order = tuple((place[instance], frame) for instance, frame in self.verdict.order)
        return replace(self, verdict=replace(self.verdict, order=order))


def split(rows: Sequence[Row]) -> list[Stack]:
    """Split the frames of one series into stacks.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of `instances` of one series, in any order.

    Returns
    -------
    list of Stack
        One if the series is one volume, cannot be taken apart or is not of DICOM objects; none only without
        pixels. Every frame is in the order of at most one stack (verdicts ``mixed`` and ``none`` have none).
    """
    planes = planes_of(rows)
    whole = judge_planes(rows, planes)
    if not planes:
        return []
    if whole.kind in ("regular", "flat") or any(row.get("format", "dicom") != "dicom" for row in rows):
        return [Stack(1, (), whole)]
    regions = regions_of(planes, rows) if whole.kind in ("mixed", "none") else [Region((), tuple(planes))]
    parts = [part for region in regions for part in _parts(rows, region)]
    if len(parts) == 1 and not parts[0].label:
        return [Stack(1, (), parts[0].verdict)]
    return [Stack(number, part.label, part.verdict, part.by) for number, part in enumerate(parts, start=1)]


def series_verdict(stacks: Sequence[Stack]) -> Verdict:
    """One verdict over all stacks of a series.

    ``regular`` if all are and they differ in nothing but what volumes of one examination may differ in;
    ``mixed`` if they differ in size, pixel spacing or kind; else the worst of them.
    """
    if not stacks:
        return Verdict("none", "no object with pixels")
    if len(stacks) == 1:
        return stacks[0].verdict
    verdicts = [stack.verdict for stack in stacks]
    names = list(dict.fromkeys(name for stack in stacks for name in stack.by))
    counts = Counter(verdict.kind for verdict in verdicts)
    worst = max(counts, key=_WORSE.index)
    spacings = {verdict.spacing for verdict in verdicts}
    slices = [verdict.slices for verdict in verdicts if verdict.slices is not None]
    note = f"{_counted(verdicts)}, by {', '.join(names)}"
    kind: Kind = "mixed" if _FAULTS & set(names) else worst
    if worst != "regular":
        note += f"; {counts[worst]} {worst}: {next(v.note for v in verdicts if v.kind == worst)}"
    return Verdict(kind, note, max(slices, default=None), spacings.pop() if len(spacings) == 1 else None)


def _counted(verdicts: Sequence[Verdict]) -> str:
    slices = {verdict.slices for verdict in verdicts}
    only = slices.pop()
    if slices or only is None:
        return f"{len(verdicts)} stacks"
    return f"{len(verdicts)} volumes of {only} slice{'s' if only > 1 else ''}"


@dataclass(frozen=True)
class _Part:
    label: tuple[tuple[str, str], ...]
    verdict: Verdict
    by: tuple[str, ...]


def _parts(rows: Sequence[Row], region: Region) -> list[_Part]:
    """The stacks of one region, in order."""
    verdict = judge_planes(rows, region.planes)
    names = tuple(name for name, _ in region.label)
    if verdict.kind not in ("duplicates", "gap", "uneven", "tilt"):
        return [_Part(region.label, verdict, names)]
    planes = list(sorted_planes(region.planes).planes)
    labels = labels_of(rows, planes)
    if verdict.kind == "duplicates":
        groups, by = _grouped(rows, planes, labels)
    else:
        groups, by = _regular_groups(rows, planes, labels)
    if groups.max() == 0:
        return [_Part(region.label, verdict, names)]
    texts = _texts(labels, by, groups)
    members = _members(planes, groups)
    return [
        _Part((*region.label, *texts[number]), judge_planes(rows, members[number]), (*names, *by))
        for number in _ordered(rows, planes, labels, groups, by)
    ]


def _grouped(
    rows: Sequence[Row], planes: Sequence[Plane], labels: Sequence[Label]
) -> tuple[Whole, tuple[str, ...]]:
    """Number of the group of each plane, such that no group has two images at one place; and by what."""
    places = _places(planes)
    most = int(np.bincount(places).max())
    telling = [label for label in labels if _differs_at_a_place(label.codes, places)]
    for count in range(1, _MOST_LABELS + 1):
        for chosen in combinations(telling, count):
            groups = _combined([label.codes for label in chosen])
            if groups.max() + 1 == most and _one_each(groups, places):
                return groups, tuple(label.name for label in chosen)
    groups, taken = np.zeros(len(planes), dtype=np.int64), list[str]()
    for label in telling:
        finer = _combined([groups, label.codes])
        if groups.max() < finer.max() < most:
            groups, taken = finer, [*taken, label.name]
    if _one_each(groups, places):
        return groups, tuple(taken)
    counted = _counted_through(groups, places, sequence_of(rows, planes))
    return (groups, tuple(taken)) if counted is None else (counted, (*taken, _REPEAT))


def _regular_groups(
    rows: Sequence[Row], planes: Sequence[Plane], labels: Sequence[Label]
) -> tuple[Whole, tuple[str, ...]]:
    """Groups by the first attribute each of whose values is a regular volume: stacks one behind the other."""
    for label in labels:
        groups = _combined([label.codes])
        # Of two slices alone nothing is seen, so they explain nothing.
        if np.bincount(groups).min() > 2 and all(
            judge_planes(rows, members).kind == "regular" for members in _members(planes, groups)
        ):
            return groups, (label.name,)
    return np.zeros(len(planes), dtype=np.int64), ()


def _members(planes: Sequence[Plane], groups: Whole) -> list[list[Plane]]:
    """The planes of every group."""
    members: list[list[Plane]] = [[] for _ in range(int(groups.max()) + 1)]
    for plane, number in zip(planes, groups.tolist(), strict=True):
        members[number].append(plane)
    return members


def _places(planes: Sequence[Plane]) -> Whole:
    """Number of the place of every plane; they are sorted along the normal."""
    along = sorted_planes(planes).along
    gaps = np.diff(along)
    return np.concatenate([[0], np.cumsum(gaps > same_height(gaps))]).astype(np.int64)


def _combined(codes: Sequence[Whole]) -> Whole:
    """Numbers of the combinations that occur, in the order of the codes."""
    groups = np.zeros_like(codes[0])
    for finer in codes:
        joined = groups * (int(finer.max()) + 1) + finer
        groups = np.unique(joined, return_inverse=True)[1].astype(np.int64)
    return groups


def _one_each(groups: Whole, places: Whole) -> bool:
    return int(_combined([groups, places]).max()) + 1 == len(places)


def _differs_at_a_place(codes: Whole, places: Whole) -> bool:
    return bool(_combined([codes, places]).max() > places.max())


def _counted_through(groups: Whole, places: Whole, sequence: Sequence[tuple[float, ...]]) -> Whole | None:
    """Groups parted further by the turn in which the images at a place were taken; None if that fails."""
    turns = np.zeros(len(places), dtype=np.int64)
    _, times = np.unique(np.array(sequence), axis=0, return_inverse=True)
    times = times.reshape(-1)
    cells = _combined([groups, places])
    order = np.lexsort((times, cells))
    starts = np.flatnonzero(np.diff(cells[order], prepend=-1))
    sizes = np.diff(np.append(starts, len(order)))
    turns[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    same = (np.diff(times[order]) == 0) & (np.diff(cells[order]) == 0)
    if same.any():
        return None
    # Every place of a group must have been imaged equally often.
    times_imaged = np.bincount(cells)[cells]
    least = np.full(int(groups.max()) + 1, len(cells))
    most = np.zeros_like(least)
    np.minimum.at(least, groups, times_imaged)
    np.maximum.at(most, groups, times_imaged)
    if (least != most).any():
        return None
    return _combined([groups, turns])


def _texts(labels: Sequence[Label], by: Sequence[str], groups: Whole) -> list[tuple[tuple[str, str], ...]]:
    """Of each group what is the same within every group and differs between them."""
    firsts = np.unique(groups, return_index=True)[1].tolist()
    found: list[list[tuple[str, str]]] = [[] for _ in firsts]
    for label in labels:
        constant = int(_combined([groups, label.codes]).max()) == int(groups.max())
        if label.name not in by and (not constant or label.counts_only):
            continue
        kept = _telling_parts(label.values)
        for texts, first in zip(found, firsts, strict=True):
            value = label.values[first]
            short = tuple(value[place] for place in kept) if kept and isinstance(value, tuple) else value
            texts.append((label.name, as_text(short)))
    if _REPEAT in by:
        for number, texts in enumerate(found, start=1):
            texts.append((_REPEAT, str(number)))
    return [tuple(texts) for texts in found]


def _telling_parts(values: Sequence[Hashable]) -> list[int]:
    """If all are lists of as many texts: the places in which they differ; else none."""
    rows = [each for each in set(values) if isinstance(each, tuple)]
    if len(rows) < len(set(values)) or len({len(each) for each in rows}) > 1:
        return []
    if not all(isinstance(part, str) for each in rows for part in each):
        return []
    return [place for place, parts in enumerate(zip(*rows, strict=True)) if len(set(parts)) > 1]


def _ordered(
    rows: Sequence[Row], planes: Sequence[Plane], labels: Sequence[Label], groups: Whole, by: Sequence[str]
) -> list[int]:
    """Numbers of the groups: by the numbers they were split by, then in the order of acquisition."""
    sequence = sequence_of(rows, planes)
    # The order of words and of directions means nothing.
    leading = [label for label in labels if label.name in by and label.ordered]

    firsts = np.unique(groups, return_index=True)[1].tolist()
    earliest: dict[int, tuple[float, ...]] = {}
    for number, turn in zip(groups.tolist(), sequence, strict=True):
        earliest[number] = min(turn, earliest.get(number, turn))

    def key(number: int) -> tuple[Any, ...]:
        return (*(int(label.codes[firsts[number]]) for label in leading), earliest[number])

    return sorted(range(len(firsts)), key=key)
