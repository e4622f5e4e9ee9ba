"""SEG and RTSTRUCT objects behind one door: bytes in, masks on a grid out."""

from __future__ import annotations

from dataclasses import dataclass

from voxlake.core.errors import GeometryError, ItemError
from voxlake.core.grid import Grid
from voxlake.core.volume import Mask
from voxlake.dicom.elements import text
from voxlake.dicom.guard import quiet
from voxlake.dicom.read import read_dataset
from voxlake.dicom.references import STRUCTURE_SET_CLASS
from voxlake.dicom.rtstruct import StructureSet, read_rtstruct
from voxlake.dicom.rtstruct_masks import rasterise
from voxlake.dicom.seg import Segmentation, read_seg
from voxlake.dicom.seg_masks import segment_masks

__all__ = ["ObjectMasks", "masks_of", "read_mask_object"]


@dataclass(frozen=True, eq=False)
class ObjectMasks:
    """The masks of one object.

    Parameters
    ----------
    kind : str
        ``RTSTRUCT``, ``BINARY``, ``FRACTIONAL`` or ``LABELMAP``.
    masks : tuple of Mask
        One for each region of a structure set; of a segmentation one, or one for each segment if they share
        voxels.
    numbers : tuple of int or None
        ROI Number or Segment Number of each mask; None for a mask of several segments.
    left_out : tuple of str
        What became no mask, a sentence each.
    """

    kind: str
    masks: tuple[Mask, ...]
    numbers: tuple[int | None, ...]
    left_out: tuple[str, ...] = ()


def read_mask_object(data: bytes) -> StructureSet | Segmentation:
    """Read a DICOM file that outlines something in images.

    Raises
    ------
    ItemError
        As `read_dataset`, `read_rtstruct` and `read_seg`; ``unsupported_mask`` for any other object.
    """
    dataset = read_dataset(data)
    with quiet():
        structures = text(dataset, "SOPClassUID") == STRUCTURE_SET_CLASS
    return read_rtstruct(dataset) if structures else read_seg(dataset)


def masks_of(found: StructureSet | Segmentation, grid: Grid | None) -> ObjectMasks:
    """Make all masks of an object.

    Parameters
    ----------
    found : StructureSet or Segmentation
        From `read_mask_object`.
    grid : Grid or None
        The grid of the image. None is for segmentations only, which have a grid of their own.

    Raises
    ------
    ItemError
        As `segment_masks`. Of a structure set only if none of its regions became a mask: as `rasterise`, or
        ``unsupported_mask`` without a grid; ``mask_empty`` if it has no closed contour at all.
    """
    if isinstance(found, Segmentation):
        segments = segment_masks(found, grid)
        singles = tuple(mask.labels[0].value if len(mask.labels) == 1 else None for mask in segments)
        return ObjectMasks(found.kind, tuple(segments), singles)
    if grid is None:
        raise ItemError("unsupported_mask", "contours have no grid of their own; the image is needed")
    masks, numbers, left_out = [], [], []
    error = ItemError("mask_empty", "the structure set has no region with a closed contour")
    for region in found.regions.values():
        try:
            masks.append(rasterise(found, grid, region.number))
            numbers.append(region.number)
        except ItemError as refused:
            left_out.append(f"region {region.number}: {refused.message}")
            # An empty region says less about what is wrong than one that does not fit.
            error = refused if refused.reason != "mask_empty" else error
        except GeometryError as refused:
            error = ItemError("mask_frame", str(refused))
            left_out.append(f"region {region.number}: {error.message}")
    if not masks:
        raise error
    return ObjectMasks("RTSTRUCT", tuple(masks), tuple(numbers), tuple(left_out))
