"""RT structure sets: contours in the patient's frame (PS3.3 sections C.8.8.5, C.8.8.6 and C.8.8.8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from voxlake.core.errors import ItemError
from voxlake.dicom.codes import Code, read_code
from voxlake.dicom.elements import items, numbers, raw_values, text, whole
from voxlake.dicom.guard import PYDICOM_ERRORS, quiet
from voxlake.dicom.references import STRUCTURE_SET_CLASS, referenced_series_uids

__all__ = ["CLOSED", "Contour", "Region", "StructureSet", "read_rtstruct"]

Float = NDArray[np.float64]

CLOSED = frozenset({"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"})


@dataclass(frozen=True, eq=False)
class Contour:
    """One contour.

    Parameters
    ----------
    kind : str
        Contour Geometric Type: ``CLOSED_PLANAR``, ``CLOSEDPLANAR_XOR``, ``POINT``, ``OPEN_PLANAR`` or
        ``OPEN_NONPLANAR``.
    points : array
        LPS mm, (N, 3).
    """

    kind: str
    points: Float = field(repr=False)


@dataclass(frozen=True, eq=False)
class Region:
    """A region of interest.

    Parameters
    ----------
    number : int
        ROI Number.
    name : str
        ROI Name; empty where there is none.
    colour : tuple of int or None
        Red, green, blue, each from 0 to 255, as it should be shown.
    interpreted_type : str or None
        RT ROI Interpreted Type, for example ``GTV`` or ``ORGAN``.
    code : Code or None
        RT ROI Identification Code.
    frame : str or None
        FrameOfReferenceUID of the contours.
    contours : tuple of Contour
        In the order of the object.
    """

    number: int
    name: str
    colour: tuple[int, int, int] | None
    interpreted_type: str | None
    code: Code | None
    frame: str | None
    contours: tuple[Contour, ...] = field(repr=False)

    @property
    def closed(self) -> bool:
        """Whether there is anything to fill."""
        return any(contour.kind in CLOSED for contour in self.contours)


@dataclass(frozen=True, eq=False)
class StructureSet:
    """The regions of one RTSTRUCT object.

    Parameters
    ----------
    sop_instance_uid : str
        The object.
    label : str or None
        Structure Set Label.
    series_uids : tuple of str
        SeriesInstanceUIDs of the images that were drawn on.
    regions : mapping of int to Region
        By ROI Number, in the order of the object.
    """

    sop_instance_uid: str
    label: str | None
    series_uids: tuple[str, ...]
    regions: Mapping[int, Region]


def read_rtstruct(dataset: Dataset) -> StructureSet:
    """Read the regions of an RTSTRUCT object.

    Parameters
    ----------
    dataset : Dataset
        From `voxlake.dicom.read.read_dataset`.

    Returns
    -------
    StructureSet
        Also regions without contours; a contour without points is left out.

    Raises
    ------
    ItemError
        ``unsupported_mask``: the object is none. ``parse_error``: contours that are not triples of finite
        numbers, or two regions of one number.
    """
    with quiet():
        if text(dataset, "SOPClassUID") != STRUCTURE_SET_CLASS:
            raise ItemError("unsupported_mask", "the object is no RT Structure Set")
        drawn = {whole(item, "ReferencedROINumber"): item for item in items(dataset, "ROIContourSequence")}
        seen = {
            whole(item, "ReferencedROINumber"): item for item in items(dataset, "RTROIObservationsSequence")
        }
        regions: dict[int, Region] = {}
        for item in items(dataset, "StructureSetROISequence"):
            roi = whole(item, "ROINumber")
            if roi is None or roi in regions:
                raise ItemError("parse_error", "every region needs an ROI Number of its own")
            regions[roi] = _region(roi, item, drawn.get(roi, Dataset()), seen.get(roi, Dataset()))
        return StructureSet(
            text(dataset, "SOPInstanceUID") or "",
            text(dataset, "StructureSetLabel"),
            tuple(referenced_series_uids(dataset) or ()),
            MappingProxyType(regions),
        )


def _region(roi: int, item: Dataset, drawn: Dataset, seen: Dataset) -> Region:
    codes = items(seen, "RTROIIdentificationCodeSequence")
    return Region(
        number=roi,
        name=text(item, "ROIName") or "",
        colour=_colour(drawn),
        interpreted_type=text(seen, "RTROIInterpretedType"),
        code=read_code(codes[0]) if codes else None,
        frame=text(item, "ReferencedFrameOfReferenceUID"),
        contours=tuple(_contours(items(drawn, "ContourSequence"))),
    )


def _contours(sequence: Sequence[Dataset]) -> list[Contour]:
    found = []
    for item in sequence:
        points = _points(item)
        if len(points):
            found.append(Contour(text(item, "ContourGeometricType") or "", points))
    return found


def _points(item: Dataset) -> Float:
    try:
        stored: object = item.get_item("ContourData")
        # pydicom makes an object of every number; the bytes of decimal strings are read ten times as fast.
        raw = stored.value if isinstance(stored, RawDataElement) else None
        values = raw.split(b"\\") if isinstance(raw, bytes) else raw_values(item, "ContourData")
        points = np.array([float(value) for value in values], dtype=np.float64)
    except PYDICOM_ERRORS:
        points = np.full(1, np.nan)
    if points.size % 3 or not np.isfinite(points).all():
        raise ItemError("parse_error", "the points of a contour are not triples of finite numbers")
    return points.reshape(-1, 3)


def _colour(drawn: Dataset) -> tuple[int, int, int] | None:
    values = numbers(drawn, "ROIDisplayColor", 3)
    return None if values is None else (int(values[0]), int(values[1]), int(values[2]))
