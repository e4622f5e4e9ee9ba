"""Masks and shares to DICOM segmentations: binary, fractional, label map (PS3.3 section A.51; highdicom)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid
from voxlake.core.volume import Label
from voxlake.dicom.guard import quiet
from voxlake.dicom.write_common import MAKER, Sources, to_bytes

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription

__all__ = ["SegmentKind", "write_seg"]

SegmentKind = Literal["binary", "fractional", "labelmap"]
"""How a segmentation stores its segments."""

_LONGEST_LABEL = 64
_MOST_SHARES = 255


def write_seg(
    segments: Sequence[tuple[Label, NDArray[Any]]],
    grid: Grid,
    sources: Sources,
    *,
    kind: SegmentKind = "binary",
    fractional_type: Literal["PROBABILITY", "OCCUPANCY"] = "OCCUPANCY",
    uids: tuple[str, str],
    algorithm: str | None = None,
    description: str = "",
) -> tuple[bytes, Dataset]:
    """Write segments as a DICOM segmentation.

    Parameters
    ----------
    segments : sequence of (Label, array)
        Each array has the shape of the grid: bool, or shares from 0 to 1 (float) for a fractional one. The
        segments are numbered 1, 2, ... in their order (PS3.3 C.8.20.2), in a label map by their values.
    grid : Grid
        Where the voxels lie. On a flat grid the segmentation has no place in space, as its image.
    sources : Sources
        The images that were segmented.
    kind : str
        ``"binary"`` and ``"fractional"`` segments may share voxels, those of a ``"labelmap"`` may not.
    fractional_type : str
        What a share means.
    uids : tuple of str
        SOPInstanceUID and SeriesInstanceUID.
    algorithm : str or None
        What made the segments; None for those that a person drew.
    description : str
        Content Description.

    Returns
    -------
    tuple of bytes and Dataset
        The DICOM file, and the object that other objects can refer to.

    Raises
    ------
    ItemError
        ``mask_empty``: no segment. ``unsupported_mask``: segments of a label map share voxels, or the object
        cannot be written on this grid or for these images.
    """
    # Start-up: half a second that only those who write segmentations pay.
    from highdicom.seg import Segmentation

    if not segments:
        raise ItemError("mask_empty", "there is no segment to write")
    values, labels = _values(segments, kind)
    with quiet():
        try:
            made = Segmentation(
                source_images=list(sources.images),
                pixel_array=_placed(values, grid),
                segmentation_type=kind.upper(),
                segment_descriptions=[_described(number, label, algorithm) for number, label in labels],
                series_instance_uid=uids[1],
                series_number=1,
                sop_instance_uid=uids[0],
                instance_number=1,
                manufacturer=MAKER,
                manufacturer_model_name=MAKER,
                software_versions=version("voxlake"),
                device_serial_number="1",
                fractional_type=fractional_type,
                max_fractional_value=_MOST_SHARES,
                content_label="VOXLAKE",
                content_description=description[:_LONGEST_LABEL] or None,
                content_creator_name=MAKER,
            )
        except (ValueError, TypeError, AttributeError) as error:
            raise ItemError("unsupported_mask", f"no segmentation could be written: {error}") from error
        return to_bytes(made), made


def _values(
    segments: Sequence[tuple[Label, NDArray[Any]]], kind: SegmentKind
) -> tuple[NDArray[Any], list[tuple[int, Label]]]:
    """Values as highdicom takes them, and the number of each segment."""
    labels = [label for label, _ in segments]
    if kind != "labelmap":
        numbered = list(enumerate(labels, 1))
        dtype = np.float32 if kind == "fractional" else np.uint8
        return np.stack([np.asarray(part, dtype=dtype) for _, part in segments], axis=-1), numbered
    largest = max(label.value for label in labels)
    values = np.zeros(segments[0][1].shape, dtype=np.uint8 if largest < 256 else np.uint16)
    for label, part in segments:
        inside = np.asarray(part, dtype=bool)
        if values[inside].any():
            raise ItemError("unsupported_mask", "segments share voxels, which a label map cannot hold")
        values[inside] = label.value
    return values, sorted(((label.value, label) for label in labels), key=lambda one: one[0])


def _placed(values: NDArray[Any], grid: Grid) -> Any:
    from highdicom import CoordinateSystemNames, Volume

    if grid.flat:
        return values
    channels: dict[Any, Any] = (
        {} if values.ndim == 3 else {"SegmentNumber": list(range(1, values.shape[3] + 1))}
    )
    return Volume(
        values,
        affine=grid.affine,
        coordinate_system=CoordinateSystemNames.PATIENT,
        frame_of_reference_uid=grid.frame,
        channels=channels or None,
    )


def _described(number: int, label: Label, algorithm: str | None) -> SegmentDescription:
    from highdicom.content import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    name = label.name[:_LONGEST_LABEL] or f"segment {number}"
    kind = codes.SCT.Tissue if label.code is None else Code(label.code[0], label.code[1], name)
    made_by = None
    if algorithm is not None:
        # CID 7162 has no family for rules of every kind.
        made_by = AlgorithmIdentificationSequence(
            name=algorithm[:_LONGEST_LABEL],
            version=version("voxlake"),
            family=codes.DCM.MorphologicalOperations,
        )
    return SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=codes.SCT.Tissue if label.code is None else codes.SCT.AnatomicalStructure,
        segmented_property_type=kind,
        algorithm_type="MANUAL" if made_by is None else "AUTOMATIC",
        algorithm_identification=made_by,
    )
