"""What the header itself says about who the patient is: the words that free text must not repeat."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from pydicom.datadict import tag_for_keyword

from voxlake.dicom.nodes import Branch, Item, Leaf, decode
from voxlake.privacy.cleaning import telling_words

__all__ = ["MAKERS", "Searched", "header_identifiers", "searched"]

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
_STUDY_DATE = 0x00080020
_DIGITS = 8
_INSTITUTIONS = frozenset({0x00080080, 0x00102299})
MAKERS = (0x00080070, 0x00081090)
"""Elements of the top level on whose values it depends what counts of others."""


class Searched(NamedTuple):
    """Where the identifying words of a data set are looked for under one policy.

    Parameters
    ----------
    tags : frozenset of int
        Elements at any depth, besides all person names.
    dates : bool
        Whether the dates of the top level count.
    """

    tags: frozenset[int]
    dates: bool


def searched(kept: Callable[[int], bool]) -> Searched:
    """Return where to look.

    Parameters
    ----------
    kept : callable
        Says whether the policy keeps an element; what it keeps is no secret elsewhere.
    """
    return Searched(frozenset(tag for tag in _IDENTIFIERS if not kept(tag)), not kept(_STUDY_DATE))


def header_identifiers(tree: Item, where: Searched) -> tuple[set[str], set[str]]:
    """Collect the identifying words of a data set, at every depth.

    Those of a data set are those of its elements, taken one by one beside `MAKERS`.

    Parameters
    ----------
    tree : Item
        The opened data set.
    where : Searched
        What `searched` gave.

    Returns
    -------
    names : set of str
        All person names, in the form of PN values.
    identifiers : set of str
        Numbers, addresses, institutions, and the dates of the top level where they do not stay.
    """
    makers = {tree.text(tag).casefold() for tag in MAKERS}
    names: set[str] = set()
    identifiers = _dates(tree) if where.dates else set()
    for item, leaf in _named(tree, where.tags):
        text = decode(leaf, item.encoding)
        if leaf.vr == "PN":
            names.update(text.strip(" \0").split("\\"))
            continue
        stated = {part.strip(" \0") for part in text.split("\\")}
        if leaf.tag in _PLACES:
            # A station that is called like its maker or model gives nothing away, and both are needed.
            stated = {part for part in stated if part.casefold() not in makers}
        identifiers.update(stated)
        if leaf.tag in _INSTITUTIONS:
            identifiers |= telling_words(stated)
    return names, identifiers


def _dates(tree: Item) -> set[str]:
    """Return the dates of a data set as people and programs write them into texts."""
    found: set[str] = set()
    for node in tree.nodes:
        if isinstance(node, Leaf) and node.vr in ("DA", "DT"):
            date = node.value[:8].decode("ascii", "replace")
            if date.isdecimal() and len(date) == _DIGITS:
                year, month, day = date[:4], date[4:6], date[6:]
                found |= {date, f"{year}-{month}-{day}", f"{year}/{month}/{day}", f"{year}.{month}.{day}"}
                found |= {f"{day}.{month}.{year}", f"{day}/{month}/{year}", f"{month}/{day}/{year}"}
    return found


def _named(item: Item, tags: frozenset[int]) -> Iterator[tuple[Item, Leaf]]:
    for node in item.nodes:
        if isinstance(node, Branch):
            for child in node.items:
                yield from _named(child, tags)
        elif node.tag in tags or node.vr == "PN":
            yield item, node
