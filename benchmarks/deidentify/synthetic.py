"""Synthetic CT files like those of a scanner: 512 x 512, 16 bit, some 110 elements."""

from __future__ import annotations

import random
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

ROOT = "1.2.826.0.1.3680043.9.7777"
TEXTS = {
    "SpecificCharacterSet": "ISO_IR 100",
    "Modality": "CT",
    "Manufacturer": "SIEMENS",
    "ManufacturerModelName": "SOMATOM Definition AS+",
    "SoftwareVersions": "syngo CT 2012B",
    "InstitutionName": "Mercyvale General Hospital",
    "InstitutionAddress": "14 Quillfeather Lane, Easthampstead",
    "InstitutionalDepartmentName": "Radiology",
    "StationName": "MERCYCT1",
    "DeviceSerialNumber": "64112",
    "ReferringPhysicianName": "Ravenscroft^Ada",
    "PerformingPhysicianName": "Delacroix^Luc",
    "OperatorsName": "Berglund^Karl",
    "PhysiciansOfRecord": "Stavropoulos^Ion",
    "StudyDescription": "Thorax^routine (Adult)",
    "SeriesDescription": "CHEST W/O CONTRAST 5mm B30f",
    "ProtocolName": "Thorax routine Kowalczyk",
    "RequestedProcedureDescription": "CT Thorax",
    "PerformedProcedureStepDescription": "CT Thorax",
    "ImageComments": "seen by Dr. Montefiore, call 555-1234",
    "PatientName": "Kowalczyk^Marguerite",
    "PatientID": "MRN48211937",
    "IssuerOfPatientID": "MERCYVALE",
    "PatientBirthDate": "19521104",
    "PatientSex": "F",
    "PatientAge": "066Y",
    "PatientSize": "1.68",
    "PatientWeight": "71.5",
    "PatientAddress": "3 Bramblewick Road, Trenholme",
    "PatientTelephoneNumbers": "555-9876",
    "OtherPatientIDs": "7711-4420",
    "EthnicGroup": "unknown",
    "Occupation": "Teacher",
    "AdditionalPatientHistory": "cough for 3 weeks",
    "PatientComments": "claustrophobic",
    "BodyPartExamined": "CHEST",
    "ScanOptions": "SPIRAL",
    "SliceThickness": "1.25",
    "KVP": "120",
    "DataCollectionDiameter": "500",
    "ReconstructionDiameter": "360",
    "DistanceSourceToDetector": "1085.6",
    "DistanceSourceToPatient": "595",
    "GantryDetectorTilt": "0",
    "TableHeight": "168",
    "RotationDirection": "CW",
    "ExposureTime": "500",
    "XRayTubeCurrent": "210",
    "Exposure": "105",
    "FilterType": "FLAT",
    "GeneratorPower": "25",
    "FocalSpots": "1.2",
    "DateOfLastCalibration": "20190301",
    "TimeOfLastCalibration": "063000",
    "ConvolutionKernel": "B30f",
    "PatientPosition": "HFS",
    "AccessionNumber": "A20190412",
    "StudyID": "ST8812",
    "SeriesNumber": "3",
    "AcquisitionNumber": "2",
    "PositionReferenceIndicator": "",
    "RescaleIntercept": "-1024",
    "RescaleSlope": "1",
    "RescaleType": "HU",
    "WindowCenter": "40",
    "WindowWidth": "400",
    "WindowCenterWidthExplanation": "WINDOW1",
    "PerformedProcedureStepID": "PPS7781",
    "PerformedProcedureStepStartDate": "20190412",
    "PerformedProcedureStepStartTime": "101000",
    "AdmissionID": "AD55120",
    "CurrentPatientLocation": "Ward 7",
    "RequestingPhysician": "Ravenscroft^Ada",
    "RequestingService": "Pulmonology",
    "ContrastBolusAgent": "none",
}


def make_files(folder: Path, count: int) -> None:
    """Write `count` files: one patient, four series."""
    draw = random.Random(7)
    pixels = bytes(draw.randrange(256) for _ in range(65536)) * 8
    for number in range(count):
        # The pixels differ, so that no file can be mistaken for another.
        own = number.to_bytes(4, "little") + pixels[4:]
        ct(number, own).save_as(folder / f"ct_{number:04d}.dcm", enforce_file_format=True)


def ct(number: int, pixels: bytes) -> Dataset:
    """Make one slice."""
    dataset = Dataset()
    for keyword, value in TEXTS.items():
        setattr(dataset, keyword, value)
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "InstanceCreationDate"):
        setattr(dataset, keyword, "20190412")
    for keyword in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime", "InstanceCreationTime"):
        setattr(dataset, keyword, "101112.250000")
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"]
    dataset.SOPClassUID = CTImageStorage
    dataset.StudyInstanceUID = f"{ROOT}.1"
    dataset.SeriesInstanceUID = f"{ROOT}.1.{number % 4 + 1}"
    dataset.SOPInstanceUID = f"{ROOT}.1.{number % 4 + 1}.{number + 1}"
    dataset.FrameOfReferenceUID = f"{ROOT}.1.9"
    dataset.InstanceNumber = number + 1
    dataset.SliceLocation = dataset.TablePosition = -100 + 1.25 * number
    dataset.ImagePositionPatient = [-180, -168, -100 + 1.25 * number]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    nested(dataset)
    private(dataset)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = 512
    dataset.PixelSpacing = [0.703125, 0.703125]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.SmallestImagePixelValue, dataset.LargestImagePixelValue = 0, 4095
    dataset.add_new(0x7FE00010, "OW", pixels)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def nested(dataset: Dataset) -> None:
    """Add sequences as a scanner and its worklist do."""
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = "RP3312", "SPS3312"
    request.RequestedProcedureDescription = "CT Thorax"
    request.ScheduledProcedureStepDescription = "CT Thorax for Kowalczyk"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "P5-0808E", "SRT", "CT of thorax"
    request.ScheduledProtocolCodeSequence = Sequence([code])
    dataset.RequestAttributesSequence = Sequence([request])
    dataset.ProcedureCodeSequence = Sequence([code])
    images = []
    for number in range(2):
        image = Dataset()
        image.ReferencedSOPClassUID = CTImageStorage
        image.ReferencedSOPInstanceUID = f"{ROOT}.1.1.{number + 900}"
        images.append(image)
    dataset.ReferencedImageSequence = Sequence(images)
    study = Dataset()
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", f"{ROOT}.1"
    dataset.ReferencedStudySequence = Sequence([study])


def private(dataset: Dataset) -> None:
    """Add blocks as two makers do."""
    dataset.add_new(0x00190010, "LO", "SIEMENS CT VA0  COAD")
    for element in range(0x1090, 0x1098):
        dataset.add_new(0x00190000 | element, "DS", f"{element}.5")
    dataset.add_new(0x00210010, "LO", "SIEMENS MED")
    dataset.add_new(0x00211011, "DS", ["0", "1.5"])
    dataset.add_new(0x00290010, "LO", "SIEMENS CSA HEADER")
    dataset.add_new(0x00291010, "OB", b"SV10 Kowalczyk " + bytes(1009))
