"""A set of DICOM files of invented patients, with the key to what de-identification must do to each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from io import BytesIO
from itertools import cycle, islice
from random import Random
from types import MappingProxyType
from typing import NamedTuple

from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from voxlake.core.errors import UsageError
from voxlake.testing.deidentification.answer_key import AnswerKey, Category, Check
from voxlake.testing.deidentification.elements import element_path
from voxlake.testing.deidentification.header import fill_header
from voxlake.testing.deidentification.kinds import KINDS, Kind, Where
from voxlake.testing.deidentification.people import Person, person
from voxlake.testing.deidentification.places import Notes, Place

__all__ = ["GeneratedSet", "generated_set"]

_ROOT = "1.2.826.0.1.3680043.9.9999"
_STUDIES, _SERIES, _INSTANCES = 3, 3, 3
_PIXEL_MODULE = MappingProxyType(
    {"SamplesPerPixel": 1, "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0}
)
_STUDY_DATE = element_path(0x00080020)


@dataclass(frozen=True)
class GeneratedSet:
    """Files and their answer key.

    Parameters
    ----------
    files : mapping of str to bytes
        Name -> object in the DICOM file format.
    key : AnswerKey
        Written while the values were planted.
    """

    files: Mapping[str, bytes]
    key: AnswerKey


class _Study(NamedTuple):
    who: Person
    number: int
    seen: date
    accession: str
    seed: int


def generated_set(patients: int = 40, *, seed: int = 1) -> GeneratedSet:
    """Generate patients with three studies of three series of three instances each.

    The key holds what is right under the Basic Profile with Clean Descriptors, Retain Longitudinal Modified
    Dates, Retain Patient Characteristics and Retain Safe Private. Fifteen SOP classes take turns.

    Parameters
    ----------
    patients : int
        27 files each; 40 give 1,080.
    seed : int
        Of everything that is drawn; the same seed gives the same bytes.

    Raises
    ------
    UsageError
        No patients.
    """
    if patients < 1:
        raise UsageError(f"got {patients} patients, expected 1 or more")
    files: dict[str, bytes] = {}
    checks: list[Check] = []
    kinds = cycle(KINDS)
    for number in range(patients):
        first = ""
        for study in _studies(person(number, seed), seed):
            for series, kind in enumerate(islice(kinds, _SERIES)):
                for notes, data in _instances(study, series, kind):
                    first = first or notes.file
                    files[notes.file] = data
                    checks += notes.checks
                    checks.append(_interval(study, notes, first))
    return GeneratedSet(MappingProxyType(files), AnswerKey(tuple(files), tuple(checks)))


def _studies(who: Person, seed: int) -> Iterator[_Study]:
    random = Random(f"{seed}/{who.number}/studies")  # noqa: S311 - a test set, no secret
    seen = date(2009, 1, 1) + timedelta(days=random.randrange(4000))
    for number in range(_STUDIES):
        yield _Study(who, number, seen, f"A{random.randrange(10**7, 10**8)}", seed)
        seen += timedelta(days=random.randrange(1, 700))


def _interval(study: _Study, notes: Notes, first: str) -> Check:
    """Ask for the days between the first study of a patient and this one."""
    base = next(_studies(study.who, study.seed)).seen
    value = f"{(study.seen - base).days} {first} {_STUDY_DATE}"
    return Check(notes.file, _STUDY_DATE, Category.INTERVAL_KEPT, value)


def _instances(study: _Study, series: int, name: str) -> Iterator[tuple[Notes, bytes]]:
    kind = KINDS[name]
    for instance in range(_INSTANCES):
        file = f"p{study.who.number:03d}/s{study.number}/{series}_{name}/{instance:04d}.dcm"
        random = Random(f"{study.seed}/{file}")  # noqa: S311 - a test set, no secret
        notes = Notes(file, study.who, kind.phrases, study.seen, study.accession, random)
        yield notes, _file(notes, kind, _where(study, series, instance))


def _where(study: _Study, series: int, instance: int) -> Where:
    root = f"{_ROOT}.{study.seed}.{study.who.number + 1}.{study.number + 1}"
    images = tuple(f"{root}.1.{number + 1}" for number in range(_INSTANCES))
    return Where(
        instance=f"{root}.{series + 1}.{instance + 1}",
        series=f"{root}.{series + 1}",
        study=root,
        frame_of_reference=f"{root}.99",
        images=images,
        image_series=f"{root}.1",
        image_class=KINDS["ct"].sop_class,
    )


def _file(notes: Notes, kind: Kind, where: Where) -> bytes:
    implicit = notes.who.number % 3 == 2
    place = Place(notes)
    fill_header(place, kind, where, implicit=implicit)
    kind.fill(place, where)
    if kind.pixels:
        _add_pixels(place)
    place.dataset.file_meta = FileMetaDataset()
    place.dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    place.dataset.file_meta.SourceApplicationEntityTitle = "WARD7"
    stream = BytesIO()
    dcmwrite(stream, place.dataset, enforce_file_format=True)
    return stream.getvalue()


def _add_pixels(place: Place) -> None:
    place.keep("Rows", 16)
    place.keep("Columns", 16)
    place.keep("PhotometricInterpretation", "MONOCHROME2")
    for keyword, value in _PIXEL_MODULE.items():
        place.put(keyword, value)
    pixels = b"".join(place.notes.random.randrange(4096).to_bytes(2, "little") for _ in range(16 * 16))
    place.dataset.add_new(0x7FE00010, "OW", pixels)
    digest = hashlib.sha256(pixels).hexdigest()
    place.notes.checks.append(
        Check(place.notes.file, element_path(0x7FE00010), Category.PIXELS_RETAINED, digest)
    )
