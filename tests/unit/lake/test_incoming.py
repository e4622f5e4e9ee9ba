"""What intake reads of an incoming file: the fast way and pydicom's say the same."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from voxlake.core.errors import ItemError
from voxlake.dicom.header import plain_row
from voxlake.dicom.read import read_dataset
from voxlake.lake.incoming import read_incoming
from voxlake.privacy.pixel_facts import dicom_facts, plain_facts


def file(syntax: str = ExplicitVRLittleEndian, **values: Any) -> bytes:
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "1.2.3", "1.2.4", "1.2.5"
    dataset.PatientID, dataset.Modality, dataset.ImageType = "P1", "CT", ["ORIGINAL", "PRIMARY"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = 4
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    # Among the pixels stands what elsewhere would be the element BurnedInAnnotation YES.
    dataset.add_new(0x7FE00010, "OW", b"\x28\x00\x01\x03CS\x04\x00YES " + bytes(20))
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def nested(value: str) -> Sequence:
    inner = Dataset()
    inner.BurnedInAnnotation = value
    return Sequence([inner])


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("values", [{}, {"BurnedInAnnotation": "NO"}, {"SourceImageSequence": nested("NO")}])
def test_facts_of_plain_files_are_those_of_pydicom(syntax: str, values: dict[str, Any]) -> None:
    data = file(syntax, **values)
    found = plain_facts(plain_row(data, tags=False), data)
    assert found is not None
    assert not found.burned_in
    # pydicom's way also looks among the pixels, where no element stands.
    without = file(syntax, **values, PixelData=bytes(32))
    assert found == dicom_facts(read_dataset(without), without)


@pytest.mark.parametrize(
    "values",
    [
        {"BurnedInAnnotation": "YES"},
        {"BurnedInAnnotation": ["NO", "YES"]},
        {"BurnedInAnnotation": "NO1"},
        {"SourceImageSequence": nested("YES")},
    ],
)
def test_burned_in_text_is_seen_at_every_depth(values: dict[str, Any]) -> None:
    data = file(**values)
    assert plain_facts(plain_row(data, tags=False), data) is None
    facts = read_incoming(data, tags=False, checked=True, modality=None).facts
    assert facts is not None
    assert facts.burned_in


@pytest.mark.parametrize("identifier", ["P1", "P1\\P2", "", "Ä\\B", 'quoted "id"'])
def test_the_patient_is_the_one_that_pydicom_names(identifier: str) -> None:
    data = file(PatientID=identifier, SpecificCharacterSet="ISO_IR 192")
    found = read_incoming(data, tags=True, checked=False, modality=None)
    assert (found.row is None) == ("\\" in identifier)
    stated = str(read_dataset(data).get("PatientID") or "")
    assert str(found.header.get("PatientID") or "") == stated


def test_the_row_is_handed_on_only_where_it_is_whole() -> None:
    data = file()
    assert read_incoming(data, tags=True, checked=False, modality=None).row == plain_row(data)
    assert read_incoming(data, tags=False, checked=True, modality=None).row is None


def test_what_pydicom_refuses_is_refused_with_its_reason() -> None:
    with pytest.raises(ItemError) as caught:
        read_incoming(file()[:-30], tags=True, checked=True, modality=None)
    assert caught.value.reason == "truncated"
