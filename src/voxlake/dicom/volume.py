"""The instances of one series to a volume in physical units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut

from voxlake.core.errors import ItemError, UsageError
from voxlake.core.mends import Mends
from voxlake.core.volume import Lineage, Unit, Volume
from voxlake.dicom.decode import decode_pixels
from voxlake.dicom.elements import items, number, numbers, text, texts
from voxlake.dicom.frames import FrameGroups, frame_groups
from voxlake.dicom.geometry import Verdict
from voxlake.dicom.guard import PYDICOM_ERRORS, quiet
from voxlake.dicom.layout import read_layout
from voxlake.dicom.mend import mend
from voxlake.dicom.mosaic import untile
from voxlake.dicom.planes import Plane, is_untiled, planes_of
from voxlake.dicom.read import read_dataset
from voxlake.dicom.real_world import RealWorldMap, chosen_map, real_world_maps
from voxlake.dicom.stacks import Stack, series_verdict, split
from voxlake.dicom.suv import as_measured

__all__ = ["assemble"]

Array = NDArray[Any]

# Value of CT where nothing was imaged: just below that of air.
_AIR = -1024.0

# Their values are measurements; MONOCHROME1 only says how to show them.
_MEASURED = frozenset({"CT", "MR", "NM", "PT", "RTDOSE"})


def assemble(
    rows: Sequence[Mapping[str, Any]],
    blobs: Sequence[bytes],
    *,
    stack: Stack | None = None,
    mends: Mends | None = None,
) -> Volume:
    """Decode, sort and rescale the slices of one stack of a series.

    Parameters
    ----------
    rows : sequence of mapping
        Rows of `instances`, with the geometry and ``sha256``.
    blobs : sequence of bytes
        The stored bytes of each row.
    stack : Stack, optional
        Which slices, counted in `rows`; from `voxlake.dicom.stacks.split`. By default the only one.
    mends : Mends, optional
        What is done if the slices are no volume; by default nothing.

    Returns
    -------
    Volume
        Values after the Modality LUT of each slice (slope and intercept may differ from slice to slice):
        int16 where that is exact, else float32; colour as uint8 RGB. Unit HU for CT whose RescaleType is HU
        or absent, or US (unspecified) in an ORIGINAL image, as some scanners write; never for localizers or
        without a rescale; else ``arbitrary``. Values outside the scanner's field of view
        (PixelPaddingValue) are kept as they are.

        MONOCHROME1 is inverted within the range of the stored bits, which the lineage says, except for CT,
        MR, NM, PT and RTDOSE, where it changes only how measured values are shown.

        The grid is that of the stack's verdict; a single image without a place has a flat one. Mended slices
        have a grid of their own, and the lineage says what was done.

    Raises
    ------
    ItemError
        ``geometry_*`` for a verdict that is no volume and may not be mended, or for several stacks, and what
        `read_dataset` and `decode_pixels` raise.
    UsageError
        If the number of rows and blobs differs.
    """
    if len(rows) != len(blobs):
        raise UsageError(f"each row needs its bytes: got {len(rows)} rows and {len(blobs)} blobs")
    verdict = (_only_stack(rows) if stack is None else stack).verdict
    if verdict.grid is None and (mends is None or not mends.allows(verdict.kind)):
        kind = "none" if verdict.kind == "flat" else verdict.kind
        raise ItemError(f"geometry_{kind}", f"the series is no volume: {verdict.note}")
    slices, steps = _slices(verdict, rows, blobs)
    units = {item.unit for item in slices}
    unit: Unit = units.pop() if len(units) == 1 else "arbitrary"
    values, grid = _stacked(slices), verdict.grid
    if grid is None:
        fill = _AIR if unit == "HU" else float(values.min())
        mended = mend(rows, _planes(rows, verdict), values, mends or Mends(), fill=fill)
        values, grid, steps = mended.values, mended.grid, (*steps, *mended.steps)
    inputs = tuple(dict.fromkeys(str(rows[instance]["sha256"]) for instance, _ in verdict.order))
    volume = Volume(
        values,
        grid,
        unit=unit,
        modality=rows[verdict.order[0][0]].get("modality"),
        lineage=Lineage(inputs, steps),
    )
    return as_measured(volume, [rows[number] for number in dict(verdict.order)])


def _only_stack(rows: Sequence[Mapping[str, Any]]) -> Stack:
    stacks = split(rows)
    if len(stacks) == 1:
        return stacks[0]
    verdict = series_verdict(stacks)
    kind = "duplicates" if verdict.kind == "regular" else verdict.kind
    raise ItemError(f"geometry_{kind}", f"the series is no single volume: {verdict.note}")


def _planes(rows: Sequence[Mapping[str, Any]], verdict: Verdict) -> list[Plane]:
    known = {(plane.instance, plane.frame): plane for plane in planes_of(rows)}
    return [known[place] for place in verdict.order]


@dataclass(frozen=True, eq=False)
class _Slice:
    """Stored values of one frame and how they become units."""

    values: Array
    slope: float
    intercept: float
    unit: Unit
    step: str | None = None

    @property
    def exact_range(self) -> tuple[float, float] | None:
        """Least and greatest value after rescale if all are whole numbers, else None."""
        if self.values.dtype.kind not in "iu" or self.slope != int(self.slope) or self.intercept % 1:
            return None
        ends = (
            float(self.values.min()) * self.slope + self.intercept,
            float(self.values.max()) * self.slope + self.intercept,
        )
        return min(ends), max(ends)


def _slices(
    verdict: Verdict, rows: Sequence[Mapping[str, Any]], blobs: Sequence[bytes]
) -> tuple[list[_Slice], tuple[str, ...]]:
    found: dict[tuple[int, int], _Slice] = {}
    steps: dict[str, None] = {}
    wanted: dict[int, list[int]] = {}
    for instance, frame in verdict.order:
        wanted.setdefault(instance, []).append(frame)
    for instance, frames in wanted.items():
        dataset = read_dataset(blobs[instance])
        values, done = _stored(dataset)
        steps.update(dict.fromkeys(done))
        if is_untiled(rows[instance]):
            values = untile(values, rows[instance]["mosaic_layout"])
        if max(frames) >= len(values):
            raise ItemError("decode_error", f"frame {max(frames)} of {len(values)} is missing")
        with quiet():
            groups = frame_groups(dataset)
            for frame in frames:
                one = found[instance, frame] = _rescale(dataset, groups, frame, values[frame])
                if one.step is not None:
                    steps[one.step] = None
    return [found[place] for place in verdict.order], tuple(steps)


def _stored(dataset: Dataset) -> tuple[Array, list[str]]:
    """Values of all frames after a Modality LUT: greys with the bright end up, colours in 8 bits."""
    values = decode_pixels(dataset)
    with quiet():
        layout = read_layout(dataset)
        if values.ndim == 4:
            bits = values.dtype.itemsize * 8 if layout.photometric == "PALETTE COLOR" else layout.stored
            return (values >> max(0, bits - 8)).astype(np.uint8), []
        # The two ends of the range of the stored bits add up to this.
        ends = -1 if layout.signed else 2**layout.stored - 1
        steps = []
        tables = items(dataset, "ModalityLUTSequence")
        if tables:
            values, ends = _looked_up(values, dataset, tables[0])
            steps.append("modality LUT")
        inverted = layout.photometric == "MONOCHROME1" and not layout.floating
        if inverted and text(dataset, "Modality") not in _MEASURED:
            values = (ends - values.astype(np.int64)).astype(values.dtype)
            steps.append("invert MONOCHROME1")
    return values, steps


def _looked_up(values: Array, dataset: Dataset, table: Dataset) -> tuple[Array, int]:
    """Values after the Modality LUT, and its greatest possible value (PS3.3 section C.11.1)."""
    descriptor = numbers(table, "LUTDescriptor", 3)
    try:
        looked_up: Array = apply_modality_lut(values, dataset)
    except PYDICOM_ERRORS:
        looked_up = values[:0]
    if descriptor is None or looked_up.shape != values.shape:
        raise ItemError("decode_error", "the table of the Modality LUT cannot be applied")
    return looked_up, 2 ** int(descriptor[2]) - 1


def _rescale(dataset: Dataset, groups: FrameGroups, frame: int, values: Array) -> _Slice:
    def at(keyword: str) -> float | None:
        each = groups.each(keyword, number)
        return each[frame] if frame < len(each) else number(dataset, keyword)

    if values.ndim == 3 or items(dataset, "ModalityLUTSequence"):
        return _Slice(values, 1.0, 0.0, "arbitrary")
    slope, intercept = at("RescaleSlope"), at("RescaleIntercept")
    stated = slope is not None and intercept is not None
    kinds = groups.each("RescaleType", text)
    kind = kinds[frame] if frame < len(kinds) else text(dataset, "RescaleType")
    unit = _unit(dataset, kind) if stated else "arbitrary"
    if unit == "arbitrary" and (not stated or (slope, intercept) == (1, 0)):
        found = chosen_map(real_world_maps(dataset, frame), float(values.min()), float(values.max()))
        if found is not None:
            return _in_the_real_world(found, values)
    if slope is None or intercept is None:
        return _Slice(values, 1.0, 0.0, unit)
    return _Slice(values, slope, intercept, unit)


def _in_the_real_world(found: RealWorldMap, values: Array) -> _Slice:
    step = f"real-world value map to '{found.code}'"
    if found.table is not None:
        return _Slice(found(values), 1.0, 0.0, found.unit, step)
    return _Slice(values, found.slope, found.intercept, found.unit, step)


def _unit(dataset: Dataset, rescale_type: str | None) -> Unit:
    image_type = texts(dataset, "ImageType") or []
    if text(dataset, "Modality") != "CT" or "LOCALIZER" in image_type:
        return "arbitrary"
    # PS3.3 section C.8.2.1: the type must be given if it is not HU. US means "unspecified"; scanners write
    # it into plain axial images, which an ORIGINAL value 1 of ImageType tells from derived maps.
    unspecified = rescale_type == "US" and image_type[:1] == ["ORIGINAL"]
    return "HU" if rescale_type in (None, "HU") or unspecified else "arbitrary"


def _stacked(slices: Sequence[_Slice]) -> Array:
    if slices[0].values.ndim == 3:
        return np.stack([item.values for item in slices])
    ranges = [item.exact_range for item in slices]
    limits = np.iinfo(np.int16)
    exact = all(ends is not None and limits.min <= ends[0] and ends[1] <= limits.max for ends in ranges)
    result = np.empty((len(slices), *slices[0].values.shape), dtype=np.int16 if exact else np.float32)
    for index, item in enumerate(slices):
        # In float64, so that the only rounding is the one into float32.
        result[index] = item.values.astype(np.float64) * item.slope + item.intercept
    return result
