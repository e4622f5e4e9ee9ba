"""What all objects that are written have in common: whose they are, what they refer to, who made them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from io import BytesIO
from typing import Any

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from voxlake.core.errors import ItemError
from voxlake.dicom.guard import PYDICOM_ERRORS, quiet
from voxlake.dicom.read import read_dataset

__all__ = [
    "IMPLEMENTATION_CLASS_UID",
    "MAKER",
    "ImageReference",
    "Sources",
    "decimal",
    "derived_uid",
    "new_object",
    "read_sources",
    "to_bytes",
]

IMPLEMENTATION_CLASS_UID = UID("2.25.215386147853287216473216049013866118422")
MAKER = "voxlake"

# Patient, General Study and Patient Study modules (PS3.3 C.7.1 and C.7.2): what an object that is derived
# from images has in common with them.
_PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
_STUDY = (
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
_WHERE_PRESENT = (
    "SpecificCharacterSet",
    "TimezoneOffsetFromUTC",
    "StudyDescription",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
)


@dataclass(frozen=True)
class ImageReference:
    """An image that something was made from.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid, series_instance_uid : str
        Which.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str

    def item(self) -> Dataset:
        """Item of a sequence that refers to it (PS3.3 Table 10-11)."""
        item = Dataset()
        item.ReferencedSOPClassUID = self.sop_class_uid
        item.ReferencedSOPInstanceUID = self.sop_instance_uid
        return item


@dataclass(frozen=True, eq=False)
class Sources:
    """The images that an object is made from.

    Parameters
    ----------
    header : Dataset
        Header of the first of them, without pixels.
    images : tuple of Dataset
        One for each, without pixels: patient, study, identifiers and place. The first image itself where it
        has several frames.
    references : tuple of ImageReference
        One for each.
    """

    header: Dataset
    images: tuple[Dataset, ...]
    references: tuple[ImageReference, ...]

    @property
    def series_instance_uids(self) -> tuple[str, ...]:
        """Series, sorted."""
        return tuple(sorted({one.series_instance_uid for one in self.references}))


def read_sources(data: bytes, rows: Sequence[Mapping[str, Any]]) -> Sources:
    """Make what the writers need of source images out of one file and the rows of all.

    Parameters
    ----------
    data : bytes
        The stored DICOM file of the first row.
    rows : sequence of mapping
        Rows of `instances`; all of one study, in any order.

    Raises
    ------
    ItemError
        ``not_dicom``: the image is no DICOM object, so that none can refer to it. What `read_dataset` raises.
    """
    if not rows or any(row["sop_class_uid"] is None for row in rows):
        raise ItemError("not_dicom", "the source is no DICOM object, so that no DICOM object can refer to it")
    header = read_dataset(data)
    with quiet():
        try:
            for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
                if keyword in header:
                    del header[keyword]
            shared = _shared(header)
            several = int(rows[0]["number_of_frames"] or 1) > 1
            images = (_completed(header),) if several else tuple(_image(shared, header, row) for row in rows)
        except PYDICOM_ERRORS as error:
            raise ItemError("parse_error", f"the header of the source cannot be read: {error}") from error
    references = tuple(
        ImageReference(row["sop_class_uid"], row["sop_instance_uid"], row["series_instance_uid"])
        for row in rows
    )
    return Sources(header, images, references)


def derived_uid(*parts: str) -> UID:
    """A UID (PS3.5 B.2) that follows from what the object is made of, so that the same object has the same.

    Parameters
    ----------
    *parts : str
        Identifiers, kind of object, options.
    """
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def new_object(sources: Sources | None, sop_class_uid: str, modality: str, uids: tuple[str, str]) -> Dataset:
    """Begin an object: patient, study, series, equipment and identifiers.

    Parameters
    ----------
    sources : Sources or None
        Whose patient and study it belongs to; None leaves them empty.
    sop_class_uid, modality : str
        What it is.
    uids : tuple of str
        SOPInstanceUID and SeriesInstanceUID.

    Returns
    -------
    Dataset
        With File Meta Information, explicit VR little endian.
    """
    now = datetime.now(UTC)
    with quiet():
        made = _shared(Dataset() if sources is None else sources.header)
        made.SOPClassUID, made.SOPInstanceUID = sop_class_uid, uids[0]
        made.SeriesInstanceUID, made.Modality = uids[1], modality
        made.SeriesNumber, made.InstanceNumber = 1, 1
        made.Manufacturer = made.ManufacturerModelName = MAKER
        made.SoftwareVersions = version("voxlake")
        made.DeviceSerialNumber = "1"
        made.InstanceCreationDate, made.InstanceCreationTime = f"{now:%Y%m%d}", f"{now:%H%M%S}"
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made


def to_bytes(dataset: Dataset) -> bytes:
    """The file (PS3.10) of an object."""
    dataset.file_meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    dataset.file_meta.ImplementationVersionName = MAKER.upper()
    stream = BytesIO()
    with quiet():
        dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def decimal(value: float) -> str:
    """A number as a decimal string (DS, at most 16 characters), to a millionth."""
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return text.replace("-0", "0", 1) if text == "-0" else text if len(text) <= 16 else f"{value:.9g}"


def _shared(header: Dataset) -> Dataset:
    """Patient and study of an object; what has to be there is there, perhaps empty."""
    made = Dataset()
    for keyword in (*_PATIENT, *_STUDY):
        setattr(made, keyword, header.get(keyword, ""))
    for keyword in _WHERE_PRESENT:
        if keyword in header:
            setattr(made, keyword, header[keyword].value)
    return made


def _completed(header: Dataset) -> Dataset:
    for keyword in (*_PATIENT, *_STUDY):
        if keyword not in header:
            setattr(header, keyword, "")
    return header


def _image(shared: Dataset, header: Dataset, row: Mapping[str, Any]) -> Dataset:
    image = Dataset()
    image.update(shared)
    image.SOPClassUID, image.SOPInstanceUID = row["sop_class_uid"], row["sop_instance_uid"]
    image.SeriesInstanceUID, image.Modality = row["series_instance_uid"], row["modality"] or "OT"
    image.Rows, image.Columns = int(row["rows"]), int(row["columns"])
    if row["frame_of_reference_uid"] and row["image_position_patient"]:
        image.FrameOfReferenceUID = row["frame_of_reference_uid"]
        image.PositionReferenceIndicator = header.get("PositionReferenceIndicator", "")
        image.ImagePositionPatient = [decimal(value) for value in row["image_position_patient"]]
        image.ImageOrientationPatient = [decimal(value) for value in row["image_orientation_patient"]]
        image.SliceThickness = row["slice_thickness"]
    if row["pixel_spacing"]:
        image.PixelSpacing = [decimal(value) for value in row["pixel_spacing"]]
    return image
