"""Patient, study, series and equipment of a file, and the places where identities hide in practice."""

from __future__ import annotations

from types import MappingProxyType

from pydicom.dataset import Dataset

from voxlake.testing.deidentification.answer_key import Category, Check
from voxlake.testing.deidentification.elements import element_path
from voxlake.testing.deidentification.kinds import Kind, Where
from voxlake.testing.deidentification.places import Place

__all__ = ["fill_header"]

_MODELS = MappingProxyType(
    {"CT": "Discovery CT750 HD", "MR": "Skyra 3T", "PT": "Biograph 64", "MG": "Selenia Dimensions"}
)


def fill_header(place: Place, kind: Kind, where: Where, *, implicit: bool) -> None:
    """Fill what all objects have in common.

    Parameters
    ----------
    place : Place
        Top of the file.
    kind : Kind
        What it is.
    where : Where
        Its UIDs.
    implicit : bool
        The file will be implicit VR, so that no element can say UN.
    """
    who = place.notes.who
    charset = who.charset.split("\\")
    place.put("SpecificCharacterSet", charset if len(charset) > 1 else charset[0])
    place.put("SOPClassUID", kind.sop_class)
    place.keep("Modality", kind.modality)
    place.uid("SOPInstanceUID", where.instance)
    place.uid("StudyInstanceUID", where.study)
    place.uid("SeriesInstanceUID", where.series)
    _patient(place)
    _study(place)
    _equipment(place, kind)
    _orders(place, where)
    _history(place)
    _private(place)
    if not implicit:
        _unknown(place)


def _patient(place: Place) -> None:
    who, seen = place.notes.who, place.notes.seen
    place.secret("PatientName", who.name, *who.name_parts)
    path = place.put("PatientID", who.mrn)
    place.hide(path, who.mrn)
    place.notes.checks.append(
        Check(place.notes.file, path, Category.PATIENT_ID_CONSISTENT, who.mrn, patient=str(who.number))
    )
    place.secret("PatientBirthDate", f"{who.born:%Y%m%d}")
    place.keep("PatientSex", who.sex)
    years = (seen - who.born).days // 365
    if years == 90:
        # What ages over 89 years are often written as, so that nothing can be asked.
        place.put("PatientAge", "090Y")
    elif years > 90:
        place.secret("PatientAge", f"{years:03d}Y")
    else:
        place.keep("PatientAge", f"{years:03d}Y")
    place.keep("PatientWeight", "71.5")
    place.keep("PatientSize", "1.68")
    place.secret("OtherPatientIDs", who.other_id)
    place.secret("PatientAddress", who.address, who.street)
    place.secret("PatientTelephoneNumbers", who.phone)
    place.secret("PatientTelecomInformation", who.email)
    place.secret("PatientMotherBirthName", f"Zapletalova^{who.name_parts[-1]}", "Zapletalova")
    place.secret("MilitaryRank", "Wing Commander")
    place.describe("AdditionalPatientHistory")
    place.describe("PatientComments", telling=True)


def _study(place: Place) -> None:
    who = place.notes.who
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "InstanceCreationDate"):
        place.day(keyword)
    place.keep("StudyTime", "101112.25")
    place.keep("AcquisitionTime", "101113")
    place.day("AcquisitionDateTime", time="101113.250000")
    place.day("PerformedProcedureStepStartDate")
    place.secret("AccessionNumber", place.notes.accession)
    place.secret("StudyID", f"ST{place.notes.accession[1:]}")
    place.secret("ReferringPhysicianName", f"{who.doctor}^Ada", who.doctor)
    place.secret("OperatorsName", f"{who.doctor}son^Karl", f"{who.doctor}son")
    place.describe("StudyDescription")
    place.describe("SeriesDescription")
    place.describe("ProtocolName")
    place.describe("PerformedProcedureStepDescription")
    place.put("SeriesNumber", 3)
    place.put("InstanceNumber", 1)
    place.code("ProcedureCodeSequence", "77477000", "SCT", "Computerized axial tomography")


def _equipment(place: Place, kind: Kind) -> None:
    who = place.notes.who
    place.keep("Manufacturer", "SIEMENS")
    place.keep("ManufacturerModelName", _MODELS.get(kind.modality, "Workstation 7.1"))
    place.keep("SoftwareVersions", "syngo 07.2")
    place.secret("InstitutionName", who.hospital, who.hospital_word)
    place.secret("InstitutionAddress", who.address, who.street)
    place.secret("InstitutionalDepartmentName", f"{who.hospital_word} Radiology", who.hospital_word)
    place.secret("StationName", f"{who.hospital_word[:8].upper()}CT1", f"{who.hospital_word[:8]}CT1")
    place.secret("DeviceSerialNumber", f"SN{who.number + 4_000_100}")


def _orders(place: Place, where: Where) -> None:
    request = place.item("RequestAttributesSequence")
    request.secret("RequestedProcedureID", f"RP{place.notes.accession[1:]}")
    request.describe("RequestedProcedureDescription")
    request.describe("ScheduledProcedureStepDescription")
    code = request.item("RequestedProcedureCodeSequence")
    code.keep("CodeMeaning", "CT of thorax")
    code.shared_day("ContextGroupVersion", "20210317")
    study = place.item("ReferencedStudySequence")
    study.put("ReferencedSOPClassUID", "1.2.840.10008.3.1.2.3.1")
    study.hide(study.put("ReferencedSOPInstanceUID", where.study), where.study)


def _history(place: Place) -> None:
    who = place.notes.who
    change = place.item("OriginalAttributesSequence")
    change.put("AttributeModificationDateTime", f"{place.notes.seen:%Y%m%d}1200")
    change.put("ReasonForTheAttributeModification", "CORRECT")
    change.put("ModifyingSystem", f"{who.hospital_word} PACS")
    before = change.item("ModifiedAttributesSequence")
    before.secret("PatientName", f"Przybylski^{who.name_parts[-1]}", "Przybylski", who.name_parts[-1])
    before.secret("PatientID", f"OLD{who.mrn}", who.mrn)


def _private(place: Place) -> None:
    who, token = place.notes.who, f"ZQ{place.notes.random.randrange(10**8):08d}"
    family = who.name_parts[0] if who.name_parts[0].isascii() else who.name_parts[-1]
    place.dataset.add_new(0x00E10010, "LO", "ACME IMAGING 4.1")
    place.private(0x00E11001, "LO", f"{family} {token}", family, token)
    place.private(0x00E11002, "UN", f"{who.mrn}{token} ".encode()[:24], token)
    nested = Dataset()
    nested.add_new(0x00E10010, "LO", "ACME IMAGING 4.1")
    nested.add_new(0x00E11003, "PN", f"{family}^{token}")
    nested.add_new(0x00100020, "LO", f"{token}X")
    place.dataset.add_new(0x00E11004, "SQ", [nested])
    place.hide(element_path(0x00E11004, 0, 0x00E11003), family, token)
    place.hide(element_path(0x00E11004, 0, 0x00100020), token)


def _unknown(place: Place) -> None:
    """Plant text in an attribute whose VR says UN (Visit Comments), and in a tag that no standard knows."""
    who = place.notes.who
    text = f"{who.name_parts[-1]} of {who.hospital_word}".encode()
    place.dataset.add_new(0x00384000, "UN", text + b" " * (len(text) % 2))
    place.hide(element_path(0x00384000), who.name_parts[-1], who.hospital_word)
    place.dataset.add_new(0x00089998, "UN", text + b" " * (len(text) % 2))
    place.hide(element_path(0x00089998), who.name_parts[-1])
