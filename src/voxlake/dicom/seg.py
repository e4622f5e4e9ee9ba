"""Segmentation objects: what they hold and where each frame lies (PS3.3 sections A.51 and C.8.20)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, cast

from numpy.typing import NDArray
from pydicom.dataset import Dataset

from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid
from voxlake.dicom.codes import Code, read_codes
from voxlake.dicom.decode import decode_pixels
from voxlake.dicom.elements import items, number, text, whole
from voxlake.dicom.frames import frame_groups
from voxlake.dicom.guard import quiet
from voxlake.dicom.references import SEGMENTATION_CLASSES, referenced_series_uids
from voxlake.dicom.seg_places import FramePlane, frame_planes, lattice

__all__ = ["Kind", "Segment", "Segmentation", "read_seg"]

Kind = Literal["BINARY", "FRACTIONAL", "LABELMAP"]


@dataclass(frozen=True)
class Segment:
    """A segment.

    Parameters
    ----------
    number : int
        Segment Number; the value in a mask. 0 only for the background of a label map.
    label : str
        Segment Label.
    category, type : Code or None
        Segmented Property Category and Type.
    modifiers : tuple of Code
        Segmented Property Type Modifiers, for example the side.
    algorithm_type, algorithm_name : str or None
        ``MANUAL``, ``SEMIAUTOMATIC`` or ``AUTOMATIC``, and by what.
    """

    number: int
    label: str
    category: Code | None = None
    type: Code | None = None
    modifiers: tuple[Code, ...] = ()
    algorithm_type: str | None = None
    algorithm_name: str | None = None


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One segmentation object.

    Parameters
    ----------
    sop_instance_uid : str
        The object.
    kind : str
        ``BINARY``, ``FRACTIONAL`` or ``LABELMAP``.
    fractional_type : str or None
        ``PROBABILITY`` or ``OCCUPANCY``.
    maximum : int
        Stored value that stands for 1; 1 unless fractional.
    padding : int or None
        Stored value of a label map that means outside of all segments.
    segments : mapping of int to Segment
        By number, in the order of the object.
    series_uids : tuple of str
        SeriesInstanceUIDs of the images that were segmented.
    image_uids : frozenset of str
        SOPInstanceUIDs of those images, as far as they are named.
    frame_of_reference : str or None
        FrameOfReferenceUID.
    planes : tuple of FramePlane
        Segment and place of every frame.
    values : array
        Stored values of all frames, (frames, rows, columns).
    grid : Grid or None
        The lattice on which the frames lie, with the places between them that have no frame; a flat grid for
        one image without a place; None where the frames are on no lattice.
    slice_extent : float or None
        mm along the normal that a frame stands for: the stated spacing, else the stated thickness.
    """

    sop_instance_uid: str
    kind: Kind
    fractional_type: str | None
    maximum: int
    padding: int | None
    segments: Mapping[int, Segment]
    series_uids: tuple[str, ...]
    image_uids: frozenset[str]
    frame_of_reference: str | None
    planes: tuple[FramePlane, ...] = field(repr=False)
    values: NDArray[Any] = field(repr=False)
    grid: Grid | None
    slice_extent: float | None = None


def read_seg(dataset: Dataset) -> Segmentation:
    """Read a Segmentation or Label Map Segmentation object.

    Parameters
    ----------
    dataset : Dataset
        From `voxlake.dicom.read.read_dataset`.

    Raises
    ------
    ItemError
        ``unsupported_mask``: no segmentation, one of slide microscopy, or frames without a place although
        there are several images. ``parse_error``: segments or frames are not described. What `decode_pixels`
        raises.
    """
    with quiet():
        if text(dataset, "SOPClassUID") not in SEGMENTATION_CLASSES:
            raise ItemError("unsupported_mask", "the object is no segmentation")
        kind = _kind(dataset)
        segments = _segments(dataset)
        planes = frame_planes(dataset, labelmap=kind == "LABELMAP")
        unknown = {plane.segment for plane in planes} - set(segments) - {None}
        if unknown:
            raise ItemError("parse_error", "frames refer to segments that the object does not describe")
        values = _stored_values(dataset)
        if len(values) != len(planes):
            raise ItemError("parse_error", f"{len(planes)} frames are described, {len(values)} are there")
        frame, stated = text(dataset, "FrameOfReferenceUID"), _stated_step(dataset)
        maximum = whole(dataset, "MaximumFractionalValue") if kind == "FRACTIONAL" else 1
        if maximum is None or maximum < 1:
            raise ItemError("parse_error", "a fractional segmentation needs a MaximumFractionalValue")
        return Segmentation(
            sop_instance_uid=text(dataset, "SOPInstanceUID") or "",
            kind=kind,
            fractional_type=text(dataset, "SegmentationFractionalType"),
            maximum=maximum,
            padding=whole(dataset, "PixelPaddingValue") if kind == "LABELMAP" else None,
            segments=MappingProxyType(segments),
            series_uids=tuple(referenced_series_uids(dataset) or ()),
            image_uids=frozenset(_images(dataset)),
            frame_of_reference=frame,
            planes=planes,
            values=values,
            grid=lattice(planes, (values.shape[1], values.shape[2]), frame, stated),
            slice_extent=stated[0] or stated[1],
        )


def _kind(dataset: Dataset) -> Kind:
    kind = text(dataset, "SegmentationType")
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise ItemError("unsupported_mask", "SegmentationType must be BINARY, FRACTIONAL or LABELMAP")
    return cast("Kind", kind)


def _segments(dataset: Dataset) -> dict[int, Segment]:
    found: dict[int, Segment] = {}
    for item in items(dataset, "SegmentSequence"):
        value = whole(item, "SegmentNumber")
        if value is None or value < 0 or value in found:
            raise ItemError("parse_error", "every segment needs a number of its own")
        category = read_codes(item, "SegmentedPropertyCategoryCodeSequence")
        kind = read_codes(item, "SegmentedPropertyTypeCodeSequence")
        types = items(item, "SegmentedPropertyTypeCodeSequence")
        found[value] = Segment(
            number=value,
            label=text(item, "SegmentLabel") or "",
            category=category[0] if category else None,
            type=kind[0] if kind else None,
            modifiers=read_codes(types[0], "SegmentedPropertyTypeModifierCodeSequence") if types else (),
            algorithm_type=text(item, "SegmentAlgorithmType"),
            algorithm_name=text(item, "SegmentAlgorithmName"),
        )
    return found


def _images(dataset: Dataset) -> Iterator[str]:
    groups = frame_groups(dataset)
    named = [
        item
        for series in items(dataset, "ReferencedSeriesSequence")
        for item in items(series, "ReferencedInstanceSequence")
    ]
    derived = [
        item
        for group in (*groups.frames, *([groups.shared] if groups.shared is not None else []))
        for derivation in items(group, "DerivationImageSequence")
        for item in items(derivation, "SourceImageSequence")
    ]
    for item in (*named, *derived):
        uid = text(item, "ReferencedSOPInstanceUID")
        if uid is not None:
            yield uid


def _stored_values(dataset: Dataset) -> NDArray[Any]:
    if text(dataset, "PhotometricInterpretation") != "PALETTE COLOR":
        return decode_pixels(dataset)
    # The palette of a label map says how to show it; the indices are the segments.
    plain = Dataset()
    plain.update({element.tag: element for element in dataset})
    plain.file_meta = dataset.file_meta
    plain.PhotometricInterpretation = "MONOCHROME2"
    return decode_pixels(plain)


def _stated_step(dataset: Dataset) -> tuple[float | None, float | None]:
    """Spacing between slices and slice thickness, where all frames agree."""
    groups = frame_groups(dataset)
    return groups.common("SpacingBetweenSlices", number), groups.common("SliceThickness", number)
