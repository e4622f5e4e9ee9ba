"""Pictures to secondary captures (PS3.3 sections A.8.1, A.8.3 and A.8.5)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
)

from voxlake.core.errors import ItemError
from voxlake.dicom.guard import quiet
from voxlake.dicom.write_common import Sources, decimal, new_object, to_bytes

__all__ = ["write_capture"]


def write_capture(
    frames: NDArray[np.uint8],
    sources: Sources | None,
    *,
    uids: tuple[str, str],
    patient_id: str = "",
    study_instance_uid: str = "",
    spacing: tuple[float, float] | None = None,
    burned_in: bool = False,
    description: str = "",
) -> bytes:
    """Write pictures as one multi-frame secondary capture.

    Parameters
    ----------
    frames : array of uint8
        Shape (frames, rows, columns), or (frames, rows, columns, 3) for RGB; as they are to be seen.
    sources : Sources or None
        The images that are shown; None if these are no DICOM objects.
    uids : tuple of str
        SOPInstanceUID and SeriesInstanceUID.
    patient_id, study_instance_uid : str
        Whose they are, where `sources` does not say it.
    spacing : tuple of float, optional
        mm between rows, between columns.
    burned_in : bool
        Whether text may be burned into the pictures.
    description : str
        Derivation Description.

    Raises
    ------
    ItemError
        ``shape_mismatch``: the array is none of pictures.
    """
    if frames.dtype != np.uint8 or frames.ndim not in (3, 4) or (frames.ndim == 4 and frames.shape[3] != 3):
        raise ItemError("shape_mismatch", f"no pictures: {frames.dtype} of shape {frames.shape}")
    colour = frames.ndim == 4
    sop_class = (
        MultiFrameTrueColorSecondaryCaptureImageStorage
        if colour
        else MultiFrameGrayscaleByteSecondaryCaptureImageStorage
    )
    with quiet():
        made = new_object(sources, str(sop_class), "OT", uids)
        if sources is None:
            made.PatientID, made.StudyInstanceUID = patient_id, study_instance_uid
        made.ConversionType = "WSD"
        made.ImageType = ["DERIVED", "SECONDARY"]
        made.PatientOrientation = ""
        made.Laterality = ""
        made.BurnedInAnnotation = "YES" if burned_in else "NO"
        made.DerivationDescription = description
        if sources is not None:
            made.SourceImageSequence = [_source(one.item()) for one in sources.references]
        _describe_pixels(made, frames, colour=colour)
        if spacing is not None:
            made.PixelSpacing = [decimal(value) for value in spacing]
        made.PixelData = np.ascontiguousarray(frames).tobytes() + b"\0" * (frames.size % 2)
    return to_bytes(made)


def _describe_pixels(made: Dataset, frames: NDArray[np.uint8], *, colour: bool) -> None:
    made.SamplesPerPixel = 3 if colour else 1
    made.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        made.PlanarConfiguration = 0
    made.NumberOfFrames, made.Rows, made.Columns = frames.shape[:3]
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation = 7, 0
    if not colour:
        made.PresentationLUTShape = "IDENTITY"
        made.RescaleIntercept, made.RescaleSlope, made.RescaleType = "0", "1", "US"
    if len(frames) > 1:
        # Frames are told apart by their number (PS3.3 C.7.6.6): of time nothing is known.
        made.FrameIncrementPointer = 0x00182002
        made.FrameLabelVector = [str(number) for number in range(1, len(frames) + 1)]


def _source(item: Dataset) -> Dataset:
    item.PurposeOfReferenceCodeSequence = [_purpose("121322", "Source image for image processing operation")]
    return item


def _purpose(value: str, meaning: str) -> Any:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code
