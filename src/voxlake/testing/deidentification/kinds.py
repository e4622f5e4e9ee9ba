"""What the objects of fourteen SOP classes hold besides patient, study and series."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from pydicom import uid

from voxlake.testing.deidentification.places import Place

__all__ = ["KINDS", "Kind", "Where"]


class Where(NamedTuple):
    """UIDs of the instance and of what it refers to."""

    instance: str
    series: str
    study: str
    frame_of_reference: str
    images: tuple[str, ...]
    image_series: str
    image_class: str


class Kind(NamedTuple):
    """One SOP class: its UID, modality, phrases, and what fills an instance."""

    sop_class: str
    modality: str
    phrases: str
    fill: Callable[[Place, Where], None]
    pixels: bool = True


def _image(place: Place, where: Where) -> None:
    place.keep("ImageType", "ORIGINAL\\PRIMARY\\AXIAL")
    place.uid("FrameOfReferenceUID", where.frame_of_reference)
    place.keep("BodyPartExamined", "CHEST")
    place.keep("ImagePositionPatient", [-120.5, -80, 33.25], there="33.25")
    place.keep("PixelSpacing", [0.75, 0.75], there="0.75")
    place.keep("WindowCenter", "40")
    place.keep("WindowWidth", "400")
    place.describe("ImageComments")
    reference = place.item("ReferencedImageSequence")
    reference.put("ReferencedSOPClassUID", where.image_class)
    reference.uid("ReferencedSOPInstanceUID", where.images[0])
    derivation = place.item("DerivationImageSequence")
    source = derivation.item("SourceImageSequence")
    source.put("ReferencedSOPClassUID", where.image_class)
    source.uid("ReferencedSOPInstanceUID", where.images[-1])


def _ct(place: Place, where: Where) -> None:
    _image(place, where)
    place.keep("KVP", "120")
    place.keep("ConvolutionKernel", place.notes.random.choice(["B30f", "LUNG", "I70f\\3", "FC51"]))
    place.keep("SliceThickness", "1.25")
    place.keep("RescaleIntercept", "-1024")
    place.describe("AcquisitionProtocolDescription")
    place.shared_day("DateOfLastCalibration", "20180917")
    place.dataset.add_new(0x00190010, "LO", "GEMS_ACQU_01")
    place.private(0x00191023, "DS", "27.5")
    place.private(0x0019109E, "LO", "HELICAL 0.984")


def _mr(place: Place, where: Where) -> None:
    _image(place, where)
    place.keep("SequenceName", "*tfl3d1_16ns")
    place.keep("EchoTime", "2.98")
    place.keep("MagneticFieldStrength", "3")
    place.keep("ScanOptions", "PFP\\FS")
    place.dataset.add_new(0x00190010, "LO", "SIEMENS MR HEADER")
    place.private(0x0019100C, "IS", "1000")
    # An element of a creator that is known, but not one of those that are known to be safe.
    place.private(0x00191008, "LO", place.notes.who.name_parts[-1], place.notes.who.name_parts[-1])


def _pet(place: Place, where: Where) -> None:
    _image(place, where)
    place.keep("Units", "BQML")
    place.keep("DecayCorrection", "START")
    dose = place.item("RadiopharmaceuticalInformationSequence")
    dose.keep("Radiopharmaceutical", "Fluorodeoxyglucose F^18^")
    dose.day("RadiopharmaceuticalStartDateTime", time="081500.00")
    dose.keep("RadionuclideTotalDose", "370000000")
    dose.code("RadionuclideCodeSequence", "C-111A1", "SRT", "^18^Fluorine")
    place.dataset.add_new(0x70530010, "LO", "Philips PET Private Group")
    place.private(0x70531000, "DS", "0.000551")


def _nm(place: Place, where: Where) -> None:
    _image(place, where)
    place.item("EnergyWindowInformationSequence").keep("EnergyWindowName", "Tc-99m 140 +-15%")
    place.item("DetectorInformationSequence").keep("CollimatorType", "PARA")
    place.keep("CountsAccumulated", "250000")


def _dx(place: Place, where: Where) -> None:
    _image(place, where)
    place.keep("ViewPosition", "PA")
    place.keep("PatientOrientation", "L\\F")
    place.keep("ExposureIndex", "412.5")
    place.describe("AcquisitionDeviceProcessingDescription")


def _mg(place: Place, where: Where) -> None:
    _image(place, where)
    place.keep("ViewPosition", "MLO")
    place.keep("ImageLaterality", "R")
    place.keep("CompressionForce", "104.5")
    place.code("ViewCodeSequence", "R-10226", "SRT", "medio-lateral oblique")


def _enhanced(place: Place, where: Where) -> None:
    _image(place, where)
    place.uid("SynchronizationFrameOfReferenceUID", f"{where.frame_of_reference}.7")
    dimension = place.item("DimensionOrganizationSequence")
    dimension.uid("DimensionOrganizationUID", f"{where.frame_of_reference}.8")
    shared = place.item("SharedFunctionalGroupsSequence")
    shared.item("PixelMeasuresSequence").keep("SliceThickness", "2.5")
    frame = place.item("PerFrameFunctionalGroupsSequence").item("FrameContentSequence")
    frame.day("FrameAcquisitionDateTime", time="101500.250000")
    frame.day("FrameReferenceDateTime", time="101500.500000")
    frame.describe("FrameComments")
    frame.keep("TemporalPositionIndex", 1)


def _structures(place: Place, where: Where) -> None:
    place.put("StructureSetLabel", "STRUCTURES")
    place.describe("StructureSetDescription")
    place.day("StructureSetDate")
    frame = place.item("ReferencedFrameOfReferenceSequence")
    frame.uid("FrameOfReferenceUID", where.frame_of_reference)
    series = frame.item("RTReferencedStudySequence").item("RTReferencedSeriesSequence")
    series.uid("SeriesInstanceUID", where.image_series)
    for image in where.images[:2]:
        contour = series.item("ContourImageSequence")
        contour.put("ReferencedSOPClassUID", where.image_class)
        contour.uid("ReferencedSOPInstanceUID", image)
    for number, name in enumerate(("GTV_LUNG", "SpinalCord 0.5cm", "PTV 60Gy"), start=1):
        region = place.item("StructureSetROISequence")
        region.put("ROINumber", number)
        region.keep("ROIName", name)
        region.describe("ROIDescription")
        region.uid("ReferencedFrameOfReferenceUID", where.frame_of_reference)


def _plan(place: Place, where: Where) -> None:
    place.keep("RTPlanLabel", "VMAT 6MV")
    place.describe("RTPlanName")
    place.describe("RTPlanDescription")
    place.day("RTPlanDate")
    place.item("DoseReferenceSequence").describe("DoseReferenceDescription")
    beam = place.item("BeamSequence")
    beam.keep("BeamName", "ARC 1 CW")
    beam.describe("BeamDescription")
    beam.keep("RadiationType", "PHOTON")
    place.item("ReferencedStructureSetSequence").uid("ReferencedSOPInstanceUID", where.images[0])
    setup = place.item("ApprovalSequence")
    setup.day("ReviewDate")
    setup.secret("ReviewerName", f"{place.notes.who.stranger}^Otto", place.notes.who.stranger)


def _dose(place: Place, where: Where) -> None:
    _image(place, where)
    place.keep("DoseUnits", "GY")
    place.keep("DoseSummationType", "PLAN")
    place.keep("DoseGridScaling", "0.000125")
    place.describe("DoseComment")
    place.item("ReferencedRTPlanSequence").uid("ReferencedSOPInstanceUID", where.images[0])


def _segmentation(place: Place, where: Where) -> None:
    place.uid("FrameOfReferenceUID", where.frame_of_reference)
    place.keep("SegmentationType", "BINARY")
    place.keep("ContentLabel", "LIVER_SEG")
    place.describe("ContentDescription")
    _creator(place)
    segment = place.item("SegmentSequence")
    segment.keep("SegmentLabel", "Liver")
    segment.describe("SegmentDescription")
    segment.code("SegmentedPropertyTypeCodeSequence", "10200004", "SCT", "Liver")
    segment.keep("SegmentAlgorithmName", "threshold 0.5")
    _references(place, where)


def _creator(place: Place) -> None:
    place.secret("ContentCreatorName", f"{place.notes.who.doctor}^Ada", place.notes.who.doctor)


def _references(place: Place, where: Where) -> None:
    series = place.item("ReferencedSeriesSequence")
    series.uid("SeriesInstanceUID", where.image_series)
    for image in where.images[:3]:
        instance = series.item("ReferencedInstanceSequence")
        instance.put("ReferencedSOPClassUID", where.image_class)
        instance.uid("ReferencedSOPInstanceUID", image)


def _report(place: Place, where: Where) -> None:
    place.keep("CompletionFlag", "COMPLETE")
    place.put("ValueType", "CONTAINER")
    place.code("ConceptNameCodeSequence", "18748-4", "LN", "Diagnostic Imaging Report")
    observer = place.item("VerifyingObserverSequence")
    observer.secret("VerifyingObserverName", f"{place.notes.who.doctor}^Ada", place.notes.who.doctor)
    observer.secret("VerifyingOrganization", place.notes.who.hospital, place.notes.who.hospital_word)
    observer.put("VerificationDateTime", f"{place.notes.seen:%Y%m%d}143000")
    evidence = place.item("CurrentRequestedProcedureEvidenceSequence")
    evidence.uid("StudyInstanceUID", where.study)
    evidence.item("ReferencedSeriesSequence").uid("SeriesInstanceUID", where.image_series)
    _content(place, where)


def _content(place: Place, where: Where) -> None:
    """Fill the tree of content, which the Basic Profile lets go: what is asked is what must not stay."""
    who = place.notes.who
    for _ in range(3):
        item = place.item("ContentSequence")
        item.put("RelationshipType", "CONTAINS")
        item.put("ValueType", "TEXT")
        item.describe("TextValue", telling=True, kept=False)
    named = place.item("ContentSequence")
    named.put("ValueType", "PNAME")
    named.secret("PersonName", who.name, *who.name_parts)
    inner = named.item("ContentSequence")
    inner.put("ValueType", "UIDREF")
    path = inner.put("UID", where.images[0])
    inner.hide(path, where.images[0])
    dated = place.item("ContentSequence")
    dated.put("ValueType", "DATE")
    dated.hide(dated.put("Date", f"{who.born:%Y%m%d}"), f"{who.born:%Y%m%d}")


def _presentation(place: Place, where: Where) -> None:
    place.keep("ContentLabel", "KEYVIEW")
    place.describe("ContentDescription")
    place.day("PresentationCreationDate")
    _creator(place)
    _references(place, where)
    note = place.item("GraphicAnnotationSequence").item("TextObjectSequence")
    note.describe("UnformattedTextValue", telling=True, kept=False)
    place.item("SoftcopyVOILUTSequence").keep("WindowCenter", "40")
    place.keep("PresentationLUTShape", "IDENTITY")


def _document(place: Place, where: Where) -> None:
    place.keep("MIMETypeOfEncapsulatedDocument", "application/pdf")
    place.describe("DocumentTitle")
    place.item("SourceInstanceSequence").uid("ReferencedSOPInstanceUID", where.images[0])
    who = place.notes.who
    page = f"%PDF-1.4 ({who.name_parts[-1]}) ({who.mrn}) %%EOF".encode()
    path = place.put("EncapsulatedDocument", page + b" " * (len(page) % 2))
    place.hide(path, who.name_parts[-1], who.mrn)


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "ct": Kind(uid.CTImageStorage, "CT", "CT", _ct),
        "mr": Kind(uid.MRImageStorage, "MR", "MR", _mr),
        "pet": Kind(uid.PositronEmissionTomographyImageStorage, "PT", "PT", _pet),
        "rtstruct": Kind(uid.RTStructureSetStorage, "RTSTRUCT", "RT", _structures, pixels=False),
        "dx": Kind(uid.DigitalXRayImageStorageForPresentation, "DX", "DX", _dx),
        "sr": Kind(uid.ComprehensiveSRStorage, "SR", "SR", _report, pixels=False),
        "mg": Kind(uid.DigitalMammographyXRayImageStorageForPresentation, "MG", "MG", _mg),
        "nm": Kind(uid.NuclearMedicineImageStorage, "NM", "NM", _nm),
        "seg": Kind(uid.SegmentationStorage, "SEG", "SEG", _segmentation),
        "enhanced_ct": Kind(uid.EnhancedCTImageStorage, "CT", "CT", _enhanced),
        "rtplan": Kind(uid.RTPlanStorage, "RTPLAN", "RT", _plan, pixels=False),
        "enhanced_mr": Kind(uid.EnhancedMRImageStorage, "MR", "MR", _enhanced),
        "rtdose": Kind(uid.RTDoseStorage, "RTDOSE", "RT", _dose),
        "gsps": Kind(uid.GrayscaleSoftcopyPresentationStateStorage, "PR", "PR", _presentation, pixels=False),
        "pdf": Kind(uid.EncapsulatedPDFStorage, "DOC", "SR", _document, pixels=False),
    }
)
"""Kinds of objects by name; without those whose pixels are held back until somebody looked (US, SC)."""
