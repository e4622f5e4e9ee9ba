"""Masks to an RT structure set (PS3.3 sections A.19, C.8.8.5, C.8.8.6 and C.8.8.8).

Every slice of a region becomes one closed contour for each of its parts, along the edges of the voxels, holes
cut in through keyholes (`voxlake.dicom.write_outlines`): read back on the same grid it is the same mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

from voxlake.core.errors import FlatGridError, ItemError
from voxlake.core.grid import Grid
from voxlake.core.volume import Label
from voxlake.dicom.guard import quiet
from voxlake.dicom.write_common import Sources, decimal, derived_uid, new_object, to_bytes
from voxlake.dicom.write_outlines import outlines

__all__ = ["RegionToWrite", "write_rtstruct"]

# Retired, but what readers look for (PS3.6 Annex A: Detached Study Management SOP Class).
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
# Regions of one object are told apart by these, again and again (red, green, blue).
_COLOURS = (
    (230, 25, 75), (60, 180, 75), (0, 130, 200), (255, 225, 25), (245, 130, 48),
    (145, 30, 180), (70, 240, 240), (240, 50, 230), (210, 245, 60), (0, 128, 128),
)  # fmt: skip
# mm by which an image may be off a plane of contours that it is said to show.
_ON_PLANE = 0.01
_LONGEST_NAME = 64


@dataclass(frozen=True, eq=False)
class RegionToWrite:
    """A region of interest to be.

    Parameters
    ----------
    label : Label
        Name and code; its value becomes the ROI Number if all regions have values of their own.
    voxels : array of bool
        Shape of the grid.
    """

    label: Label
    voxels: NDArray[np.bool_] = field(repr=False)


def write_rtstruct(
    regions: Sequence[RegionToWrite],
    grid: Grid,
    sources: Sources,
    *,
    uids: tuple[str, str],
    description: str = "",
) -> bytes:
    """Write regions as an RT structure set.

    Parameters
    ----------
    regions : sequence of RegionToWrite
        They may share voxels. One without voxels becomes a region without contours.
    grid : Grid
        Where the voxels lie.
    sources : Sources
        The images that were drawn on; each contour names the image in whose plane it lies, if there is one.
    uids : tuple of str
        SOPInstanceUID and SeriesInstanceUID.
    description : str
        Structure Set Description.

    Returns
    -------
    bytes
        A DICOM file, implicit VR little endian: explicit VR has no room for long contours (PS3.5 7.1.2).

    Raises
    ------
    FlatGridError
        The grid has no place in space.
    ItemError
        ``mask_empty``: there is no region.
    """
    if grid.flat:
        raise FlatGridError("contours are in millimetres, but this image is flat: it has no place in space")
    if not regions:
        raise ItemError("mask_empty", "there is no region to write")
    frame = grid.frame or derived_uid("frame", *sources.series_instance_uids)
    now = datetime.now(UTC)
    numbers = _numbers(regions)
    with quiet():
        made = new_object(sources, str(RTStructureSetStorage), "RTSTRUCT", uids)
        made.OperatorsName = ""
        made.FrameOfReferenceUID = frame
        made.PositionReferenceIndicator = ""
        made.StructureSetLabel = "VOXLAKE"
        made.StructureSetDescription = description
        made.StructureSetDate, made.StructureSetTime = f"{now:%Y%m%d}", f"{now:%H%M%S}"
        made.ReferencedFrameOfReferenceSequence = [_frame(frame, sources)]
        made.StructureSetROISequence = [
            _item(
                ROINumber=number,
                ReferencedFrameOfReferenceUID=frame,
                ROIName=region.label.name[:_LONGEST_NAME],
                ROIGenerationAlgorithm="",
            )
            for number, region in zip(numbers, regions, strict=True)
        ]
        planes = _Planes(grid, sources)
        made.ROIContourSequence = [
            _contours(number, region, grid, planes) for number, region in zip(numbers, regions, strict=True)
        ]
        made.RTROIObservationsSequence = [
            _observation(place, number, region.label)
            for place, (number, region) in enumerate(zip(numbers, regions, strict=True), 1)
        ]
        made.ApprovalStatus = "UNAPPROVED"
        made.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return to_bytes(made)


class _Planes:
    """Which source image shows a slice of the grid."""

    def __init__(self, grid: Grid, sources: Sources) -> None:
        self._grid = grid
        self._normal = np.cross(grid.direction[:, 1], grid.direction[:, 2])
        self._images = []
        for image, reference in zip(sources.images, sources.references, strict=False):
            position, cosines = image.get("ImagePositionPatient"), image.get("ImageOrientationPatient")
            if position and cosines:
                along = np.array(cosines, dtype=np.float64)
                normal = np.cross(along[:3], along[3:])
                if abs(abs(float(normal @ self._normal)) - 1) < 1e-4:
                    height = float(np.array(position, dtype=np.float64) @ self._normal)
                    self._images.append((height, reference))

    def item(self, place: int) -> list[Dataset]:
        """Items of Contour Image Sequence for a slice: one, or none where no image lies there."""
        height = float(self._grid.index_to_world((place, 0, 0)) @ self._normal)
        near = min(self._images, key=lambda one: abs(one[0] - height), default=None)
        return [near[1].item()] if near is not None and abs(near[0] - height) <= _ON_PLANE else []


def _contours(number: int, region: RegionToWrite, grid: Grid, planes: _Planes) -> Dataset:
    item = _item(ROIDisplayColor=list(_COLOURS[(number - 1) % len(_COLOURS)]), ReferencedROINumber=number)
    contours: list[Dataset] = []
    for place in np.flatnonzero(region.voxels.any(axis=(1, 2))).tolist():
        shown = planes.item(place)
        for outline in outlines(region.voxels[place]):
            index = np.column_stack([np.full(len(outline), place), outline])
            points = grid.index_to_world(index)
            contour = _item(ContourImageSequence=shown) if shown else Dataset()
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [decimal(value) for value in points.reshape(-1).tolist()]
            contour.ContourNumber = len(contours) + 1
            contours.append(contour)
    if contours:
        item.ContourSequence = contours
    return item


def _numbers(regions: Sequence[RegionToWrite]) -> list[int]:
    values = [region.label.value for region in regions]
    return values if len(set(values)) == len(values) else list(range(1, len(values) + 1))


def _frame(frame: str, sources: Sources) -> Dataset:
    series = []
    for uid in sources.series_instance_uids:
        images = [one.item() for one in sources.references if one.series_instance_uid == uid]
        series.append(_item(SeriesInstanceUID=uid, ContourImageSequence=images))
    study = _item(
        ReferencedSOPClassUID=_STUDY_CLASS,
        ReferencedSOPInstanceUID=sources.header.StudyInstanceUID,
        RTReferencedSeriesSequence=series,
    )
    return _item(FrameOfReferenceUID=frame, RTReferencedStudySequence=[study])


def _observation(place: int, number: int, label: Label) -> Dataset:
    item = _item(ObservationNumber=place, ReferencedROINumber=number)
    if label.code is not None:
        value, scheme = label.code
        meaning = label.name[:_LONGEST_NAME] or value
        code = _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)
        item.RTROIIdentificationCodeSequence = [code]
    item.RTROIInterpretedType = ""
    item.ROIInterpreter = ""
    return item


def _item(**elements: Any) -> Dataset:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made
