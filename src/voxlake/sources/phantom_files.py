"""Phantoms as DICOM files: CT Image Storage (PS3.3 A.3) with made-up identities.

The identities are there so that de-identification has something to take away; no such person exists, and
every object says that it is synthetic.
"""

from __future__ import annotations

import io
import uuid
from datetime import date, timedelta
from functools import lru_cache

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless

from voxlake.sources.anatomy import random_anatomy
from voxlake.sources.scanner import SCANNERS, Acquisition, Scanner, SeriesKey, acquire

__all__ = ["phantom_file"]

_SPACE = uuid.UUID("6f1b0f4e-6d0a-4b3c-9c1e-2f6f6b1f7a11")
_FIRST_DAY = date(2019, 1, 7)
_SIGNED = {True: 1, False: 0}


def phantom_file(key: SeriesKey, number: int) -> bytes:
    """The DICOM file of one slice.

    Parameters
    ----------
    key : SeriesKey
        Which series.
    number : int
        InstanceNumber, from 1.

    Returns
    -------
    bytes
        Explicit VR little endian, or RLE where the scanner packs. Same key, same bytes.
    """
    scan, common = _series(key)
    scanner = _scanner(key)
    dataset = Dataset()
    dataset.update(common)
    _add_slice(dataset, scan, scanner, number)
    _add_uids(dataset, key, number)
    _add_pixels(dataset, scan.stored[number - 1], scanner)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


# The slices of a series are read one after the other: without this, each would scan the whole chest again.
@lru_cache(maxsize=2)
def _series(key: SeriesKey) -> tuple[Acquisition, Dataset]:
    """The scan, and the part of the header that all its slices share."""
    scanner = _scanner(key)
    anatomy = random_anatomy((key.seed, key.patient), nodule=key.nodule, radius=key.radius, count=key.count)
    random = np.random.default_rng((key.seed, key.patient, key.study, 3))
    common = Dataset()
    _add_patient(common, key)
    _add_study(common, key, scanner)
    return acquire(anatomy, scanner, key.shape, random, key.noise), common


def _scanner(key: SeriesKey) -> Scanner:
    random = np.random.default_rng((key.seed, key.patient, key.study, 4))
    return SCANNERS[int(random.integers(len(SCANNERS)))]


def _add_patient(dataset: Dataset, key: SeriesKey) -> None:
    random = np.random.default_rng((key.seed, key.patient, 5))
    age = int(random.integers(35, 85))
    dataset.PatientName = f"Phantom^{key.patient:03d}"
    dataset.PatientID = f"PHANTOM-{key.seed}-{key.patient:05d}"
    dataset.PatientBirthDate = (_FIRST_DAY - timedelta(days=365 * age + 100)).strftime("%Y%m%d")
    dataset.PatientSex = "MF"[int(random.integers(2))]
    dataset.PatientAge = f"{age:03d}Y"
    dataset.PatientSize = f"{random.uniform(1.5, 1.9):.2f}"
    dataset.PatientWeight = f"{random.uniform(50, 95):.1f}"
    dataset.PatientAddress = f"{key.patient} Phantom Street, Nowhere"


def _add_study(dataset: Dataset, key: SeriesKey, scanner: Scanner) -> None:
    day = _FIRST_DAY + timedelta(days=key.patient % 700 + 180 * (key.study - 1))
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(dataset, keyword, day.strftime("%Y%m%d"))
    for keyword in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"):
        setattr(dataset, keyword, f"{8 + key.patient % 10:02d}3000")
    dataset.AccessionNumber = f"ACC{key.patient:05d}{key.study}"
    dataset.StudyID = str(key.study)
    dataset.ReferringPhysicianName = "Referrer^Synthetic"
    dataset.OperatorsName = "Operator^Synthetic"
    dataset.InstitutionName = "Synthetic Hospital"
    dataset.StationName = f"PHANTOM{scanner.letter}"
    dataset.DeviceSerialNumber = f"SN-{scanner.letter}-0001"
    dataset.Manufacturer = f"voxlake phantom {scanner.letter}"
    dataset.ManufacturerModelName = f"phantom {scanner.letter}"
    dataset.SoftwareVersions = "1"
    dataset.Modality = "CT"
    dataset.BodyPartExamined = "CHEST"
    dataset.StudyDescription = "CT CHEST"
    dataset.SeriesDescription = f"CHEST {scanner.kernel}"
    dataset.ProtocolName = "CHEST"
    dataset.SeriesNumber = 2
    dataset.ImageComments = "synthetic phantom, not a patient"
    dataset.PatientPosition = scanner.position
    dataset.PositionReferenceIndicator = None
    dataset.ConvolutionKernel = scanner.kernel
    dataset.KVP = f"{scanner.kvp:g}"
    dataset.Exposure = "90"
    block = dataset.private_block(0x0009, "VOXLAKE PHANTOM", create=True)
    block.add_new(0x01, "LO", str(dataset.PatientName))


def _add_slice(dataset: Dataset, scan: Acquisition, scanner: Scanner, number: int) -> None:
    depth, row, column = scan.spacing
    position = [f"{value:.6f}" for value in scan.positions[number - 1]]
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.AcquisitionNumber = 1
    dataset.InstanceNumber = number
    dataset.ImagePositionPatient = position
    dataset.ImageOrientationPatient = [str(value) for value in scan.orientation]
    dataset.SliceLocation = position[2]
    dataset.SliceThickness = f"{depth * scanner.thickness:.6g}"
    dataset.SpacingBetweenSlices = f"{depth:.6f}"
    dataset.PixelSpacing = [f"{row:.6f}", f"{column:.6f}"]
    dataset.RescaleSlope = f"{scanner.slope:g}"
    dataset.RescaleIntercept = f"{scanner.intercept:g}"
    dataset.RescaleType = "HU"
    dataset.WindowCenter, dataset.WindowWidth = "-600", "1500"


def _add_uids(dataset: Dataset, key: SeriesKey, number: int) -> None:
    # The study is named after all that it holds: other settings make other objects, never other content
    # under the same name.
    study = repr(key)
    dataset.StudyInstanceUID = _uid("study", study)
    dataset.SeriesInstanceUID = _uid("series", study)
    dataset.FrameOfReferenceUID = _uid("frame", study)
    dataset.SOPInstanceUID = _uid("instance", study, str(number))
    dataset.SOPClassUID = CTImageStorage
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID


def _uid(*parts: str) -> str:
    return f"2.25.{uuid.uuid5(_SPACE, '/'.join(parts)).int}"


def _add_pixels(
    dataset: Dataset, stored: np.ndarray[tuple[int, ...], np.dtype[np.integer]], scanner: Scanner
) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated = 16
    dataset.BitsStored = scanner.bits
    dataset.HighBit = scanner.bits - 1
    dataset.PixelRepresentation = _SIGNED[scanner.signed]
    dataset.add_new("PixelData", "OW", stored.astype(stored.dtype.newbyteorder("<")).tobytes())
    if scanner.packed:
        # One named encoder, since different ones may write different bytes for the same pixels.
        dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
