"""Which series an object is about: segmentations and structure sets name the images that they outline."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage, SegmentationStorage

from voxlake.dicom.elements import items, text

__all__ = [
    "LABELMAP_SEGMENTATION",
    "MASK_CLASSES",
    "SEGMENTATION_CLASSES",
    "STRUCTURE_SET_CLASS",
    "read_references",
    "referenced_series_uids",
]

# PS3.6 annex A; younger than pydicom's dictionary.
LABELMAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"
SEGMENTATION_CLASSES = frozenset({str(SegmentationStorage), LABELMAP_SEGMENTATION})
STRUCTURE_SET_CLASS = str(RTStructureSetStorage)
MASK_CLASSES = SEGMENTATION_CLASSES | {STRUCTURE_SET_CLASS}


def read_references(dataset: Dataset) -> dict[str, list[str] | None]:
    """The column of `instances` that `referenced_series_uids` fills."""
    return {"referenced_series_uids": referenced_series_uids(dataset)}


def referenced_series_uids(dataset: Dataset) -> list[str] | None:
    """SeriesInstanceUIDs of the images that a SEG or RTSTRUCT object was drawn on.

    Parameters
    ----------
    dataset : Dataset
        Any object.

    Returns
    -------
    list of str or None
        Sorted, without repeats; None for objects of other classes and where none is named.
    """
    kind = text(dataset, "SOPClassUID")
    if kind == STRUCTURE_SET_CLASS:
        series = _of_structures(dataset)
    elif kind in SEGMENTATION_CLASSES:
        series = iter(items(dataset, "ReferencedSeriesSequence"))
    else:
        return None
    found = {text(item, "SeriesInstanceUID") for item in series}
    return sorted(uid for uid in found if uid is not None) or None


def _of_structures(dataset: Dataset) -> Iterator[Dataset]:
    """Items of RT Referenced Series Sequence (PS3.3 section C.8.8.5)."""
    for frame in items(dataset, "ReferencedFrameOfReferenceSequence"):
        for study in items(frame, "RTReferencedStudySequence"):
            yield from items(study, "RTReferencedSeriesSequence")
