"""What the header itself says about who the patient is: the words that free text must not repeat."""

from __future__ import annotations

from pydicom.datadict import tag_for_keyword

from voxlake.privacy.tree import Item, decode

__all__ = ["header_identifiers"]

_KEYWORDS = (
    "AccessionNumber",
    "AdmissionID",
    "CountryOfResidence",
    "DeviceSerialNumber",
    "FillerOrderNumberImagingServiceRequest",
    "InstitutionAddress",
    "InstitutionName",
    "InsurancePlanIdentification",
    "IssuerOfPatientID",
    "MedicalRecordLocator",
    "OtherPatientIDs",
    "PatientAddress",
    "PatientBirthDate",
    "PatientID",
    "PatientTelephoneNumbers",
    "PerformedProcedureStepID",
    "PlacerOrderNumberImagingServiceRequest",
    "RequestedProcedureID",
    "ResponsibleOrganization",
    "ScheduledProcedureStepID",
    "StationName",
    "StudyID",
)
_IDENTIFIERS = frozenset(tag for tag in map(tag_for_keyword, _KEYWORDS) if tag is not None)
_PLACES = frozenset({0x00080080, 0x00081010})
_MAKERS = (0x00080070, 0x00081090)


def header_identifiers(tree: Item) -> tuple[set[str], set[str]]:
    """Collect the identifying words of a data set, at every depth.

    Parameters
    ----------
    tree : Item
        The opened data set.

    Returns
    -------
    names : set of str
        All person names, in the form of PN values.
    identifiers : set of str
        Numbers, addresses and institutions.
    """
    makers = {tree.text(tag).casefold() for tag in _MAKERS}
    names: set[str] = set()
    identifiers: set[str] = set()
    for item, leaf in tree.walk():
        if leaf.vr == "PN":
            names.update(decode(leaf, item.encoding).strip(" \0").split("\\"))
        elif leaf.tag in _IDENTIFIERS:
            stated = {part.strip(" \0") for part in decode(leaf, item.encoding).split("\\")}
            if leaf.tag in _PLACES:
                # A station that is called like its maker or model gives nothing away, and both are needed.
                stated = {part for part in stated if part.casefold() not in makers}
            identifiers.update(stated)
    return names, identifiers
