from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
)

from voxlake.core.errors import ItemError
from voxlake.privacy.deidentify import Deidentified, Deidentifier, deidentify
from voxlake.privacy.policy import Policy, load_policy
from voxlake.privacy.pseudonyms import Pseudonymiser
from voxlake.privacy.series_memory import SeriesMemory
from voxlake.privacy.shapes import dicom_shape


class Key:
    def mac(self, purpose: str, data: bytes) -> bytes:
        return hmac.new(b"u" * 32, purpose.encode() + b"\0" + data, hashlib.sha256).digest()


NAMES = Pseudonymiser(Key())
RESEARCH = load_policy("research")
OWN = Policy(
    name="own",
    options=RESEARCH.options,
    rules=[
        {"keyword": "SeriesDescription", "pattern": "secret", "action": "reject"},
        {"keyword": "ImageComments", "pattern": "slice", "action": "replace", "value": "S"},
        {"group": "0009", "private_creator": "ACME*", "pattern": "keep", "action": "keep"},
    ],
)


def slice_of(number: int, syntax: str = ExplicitVRLittleEndian, **values: Any) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.Modality = CTImageStorage, "CT"
    dataset.SOPInstanceUID = f"1.2.3.4.{number}" + "7" * (number % 4)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Doe^John", "4711", "19500203"
    dataset.StudyDate, dataset.AcquisitionTime = "20200301", f"1011{number:02d}"
    dataset.SeriesDescription, dataset.ImageComments = "Thorax Doe", f"slice {number} of Doe, Mercyvale"
    dataset.InstitutionName, dataset.Manufacturer = "Mercyvale", "ACME"
    dataset.InstanceNumber = number
    dataset.ReferencedImageSequence = [Dataset()]
    dataset.ReferencedImageSequence[0].ReferencedSOPInstanceUID = f"1.2.9.{number}"
    block = dataset.private_block(0x0009, "ACME 1", create=True)
    block.add_new(1, "LO", f"keep {number}")
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 16, 16, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation, dataset.PhotometricInterpretation = 0, "MONOCHROME2"
    pixels = bytes([number]) * 512
    dataset.PixelData = encapsulate([pixels]) if syntax == JPEG2000Lossless else pixels
    dataset["PixelData"].VR = "OB" if syntax == JPEG2000Lossless else "OW"
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def written(dataset: Dataset) -> bytes:
    stream = BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def told(clean: Deidentified, policy: Policy) -> tuple[object, ...]:
    shape = dicom_shape(clean, policy)
    return (
        clean.data,
        clean.patient_id,
        clean.report,
        dict(clean.changes),
        dict(clean.remains()),
        clean.names(),
        shape,
        shape.digest,
    )


def answer(clean: Callable[[], Deidentified], policy: Policy) -> tuple[object, ...]:
    try:
        return told(clean(), policy)
    except ItemError as error:
        return error.reason, error.message


class Counted:
    """A `Deidentifier` held against a fresh one, that counts what its memory knew."""

    def __init__(self, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
        self.known = 0
        self.policy, self.remembering = policy, Deidentifier(policy, NAMES)
        recall = SeriesMemory.recall

        def counted(memory: SeriesMemory, data: bytes, patient: str | None) -> Any:
            found = recall(memory, data, patient)
            self.known += found is not None
            return found

        monkeypatch.setattr(SeriesMemory, "recall", counted)

    def agree(self, files: Iterable[bytes], patient: str | None = None) -> int:
        """Assert that both give the same; return how many files memory knew."""
        before = self.known
        for data in files:
            fresh = answer(partial(deidentify, data, self.policy, NAMES, patient=patient), self.policy)
            assert answer(partial(self.remembering, data, patient=patient), self.policy) == fresh
        return self.known - before


@pytest.fixture
def counted(monkeypatch):
    return lambda policy=RESEARCH: Counted(policy, monkeypatch)


@pytest.mark.parametrize("policy", [RESEARCH, load_policy("basic"), OWN], ids=lambda policy: policy.name)
@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, JPEG2000Lossless]
)
def test_a_series_is_known_from_its_third_file_on(counted, policy, syntax):
    assert counted(policy).agree(written(slice_of(number, syntax)) for number in range(12, 22)) == 8


def test_the_next_series_is_known_from_its_second_file_on(counted):
    both = counted()
    both.agree(written(slice_of(number)) for number in range(12, 16))
    others = [slice_of(number, PatientID="4712", StudyInstanceUID="1.2.5") for number in range(12, 16)]
    assert both.agree(map(written, others)) == 3


def test_a_deflated_file_is_not_remembered(counted):
    files = [written(slice_of(number, DeflatedExplicitVRLittleEndian)) for number in range(12, 16)]
    assert counted().agree(files) == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"PatientID": "4712"},
        {"StudyInstanceUID": "1.2.4"},
        {"PatientName": "Thorax^John"},
        {"InstitutionName": "Thorax"},
        {"ReferringPhysicianName": "Thorax^Ada"},
        {"Modality": "MR"},
        {"SOPClassUID": MRImageStorage},
        {"SpecificCharacterSet": "ISO_IR 100"},
        {"StudyDate": "20200302"},
        {"Manufacturer": "Mercyvale"},
        {"SeriesDescription": "secret"},
        {"PixelData": b""},
    ],
    ids=lambda changed: next(iter(changed)),
)
@pytest.mark.parametrize("policy", [RESEARCH, OWN], ids=lambda policy: policy.name)
def test_what_others_depend_on_is_not_taken_from_memory(counted, policy, changed):
    files = [slice_of(number) for number in range(12, 20)]
    files.insert(5, slice_of(30, **changed))
    files.append(slice_of(31, **changed))
    counted(policy).agree(written(file) for file in files)


def test_a_name_in_an_element_that_differs_goes_from_the_others(counted):
    both = counted()
    both.agree(written(slice_of(number, OperatorsName=f"Oper^{number}")) for number in range(12, 15))
    named = slice_of(15, OperatorsName="Thorax^Ada")
    both.agree([written(named)])
    assert b"Thorax" not in both.remembering(written(named)).data


def test_a_patient_stated_beside_the_file(counted):
    both = counted()
    files = [written(slice_of(number)) for number in range(12, 18)]
    both.agree(files[:4])
    assert both.agree(files, patient="Thorax") == 5
    assert both.agree(files) == 6


def test_private_elements_that_are_kept_or_not(counted):
    files = [slice_of(number) for number in range(12, 20)]
    files[5][0x00091001].value = "drop it"
    assert counted(OWN).agree(written(file) for file in files) == 4


def test_elements_behind_the_pixels_and_long_ones(counted):
    files = [slice_of(number) for number in range(12, 20)]
    for number, file in enumerate(files):
        file.add_new(0xFFFCFFFC, "OB", bytes(10 + number // 3 * 2))
        file.PixelData = bytes([number]) * 40_000
    assert counted().agree(written(file) for file in files) >= 4


def test_odd_lengths_undefined_lengths_and_cut_files(counted):
    both = counted()
    files = [slice_of(number) for number in range(12, 22)]
    for file in files[3:]:
        file["ReferencedImageSequence"].is_undefined_length = True
    whole = list(map(written, files))
    assert both.agree(whole) == 8
    both.agree(data[:-1] for data in whole)
    both.agree(data[: len(data) // 2] for data in whole)
    both.agree(data + b"\0\0" for data in whole)
    both.agree(odd(data) for data in whole)


def odd(data: bytes) -> bytes:
    """The last of 512 bytes of pixels taken away, and their length said so."""
    return data[:-516] + (511).to_bytes(4, "little") + data[-512:-1]


def test_overlays_are_looked_at_as_a_whole(counted):
    files = [slice_of(number) for number in range(12, 16)]
    for file in files:
        file.add_new(0x60000010, "US", 16)
        file.add_new(0x60000011, "US", 16)
        file.add_new(0x60000102, "US", 12)
    assert counted().agree(written(file) for file in files) == 0


def test_an_object_without_its_uid_is_refused(counted):
    both = counted()
    both.agree(written(slice_of(number)) for number in range(12, 16))
    data = written(slice_of(16))
    meta, _, body = data.partition(b"1.2.3.4.16")
    bare = meta + b"1.2.3.4.16" + body.replace(b"1.2.3.4.16", b"\0" * 10)
    assert both.agree([bare]) == 0
    with pytest.raises(ItemError, match="SOPInstanceUID") as caught:
        both.remembering(bare)
    assert caught.value.reason == "missing_uid"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_bytes_of_a_header_changed(counted, syntax):
    both = counted()
    both.agree(written(slice_of(number, syntax)) for number in range(12, 16))
    data = written(slice_of(16, syntax))
    for place in range(132, len(data) - 512, 5):
        changed = bytearray(data)
        changed[place] ^= 1 + place % 3
        both.agree([bytes(changed)])


def test_memory_is_bounded():
    memory = Deidentifier(RESEARCH, NAMES)
    for number in range(40):
        file = slice_of(number % 3, PatientID=f"P{number // 2}")
        file.ReferencedImageSequence = Sequence([])
        memory(written(file))
    assert len(memory._memory._known) <= 8


@pytest.mark.realdata
def test_real_files_in_their_order_and_backwards(realdata: Path, counted):
    both = counted()
    folder = realdata / "multivendor_dicom"
    names = sorted(name for name in folder.rglob("*") if name.is_file())[:150]
    found = [data for data in (name.read_bytes() for name in names) if data[128:132] == b"DICM"]
    assert both.agree(found) > len(found) / 3
    both.agree(reversed(found[::3]))
