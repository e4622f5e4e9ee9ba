"""What is remembered of objects before never changes what becomes of the next one."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from functools import partial
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from voxlake.core.errors import ItemError
from voxlake.privacy.deidentify import Deidentified, Deidentifier, deidentify
from voxlake.privacy.policy import OPTION_CODES, Policy, load_policy
from voxlake.privacy.pseudonyms import Pseudonymiser

pytestmark = pytest.mark.filterwarnings("ignore")


class Key:
    def mac(self, purpose: str, data: bytes) -> bytes:
        return hmac.new(b"m" * 32, purpose.encode() + b"\0" + data, hashlib.sha256).digest()


NAMES = Pseudonymiser(Key())
OPTIONS = sorted(set(OPTION_CODES) - {"basic", "retain_longitudinal_full_dates"})
RULES = (
    {"keyword": "SeriesDescription", "pattern": "Nr1", "action": "reject"},
    {"vr": "LO", "pattern": "Zq[a-z]+", "action": "replace", "value": "X"},
    {"keyword": "ImageComments", "pattern": "Zqward", "action": "keep"},
    {"group": "odd", "private_creator": "ACME", "action": "clean"},
    {"keyword": "AcquisitionDate", "action": "shift_date"},
    {"vr": "SQ", "action": "remove", "modality": "MR"},
)
POLICIES = st.one_of(
    st.sampled_from([load_policy("research"), load_policy("basic")]),
    st.builds(
        lambda options, rules, age: Policy(name="any", options=options, rules=rules, max_age=age),
        st.lists(st.sampled_from(OPTIONS), unique=True, max_size=5),
        st.lists(st.sampled_from(RULES), max_size=3),
        st.sampled_from([60, 89, None]),
    ),
)
WORDS = st.sampled_from(["Zqname", "Zqward", "Nr1", "4711", "20200301", "plain", "1.2.3.4.5.6.7.8.9", ""])
# What may differ between the objects of a draw; each draw lets a few of them.
FIELDS = {
    "PatientID": st.sampled_from(["4711", "4712", ""]),
    "PatientName": WORDS,
    "PatientAge": st.sampled_from(["065Y", "093Y", "x"]),
    "StudyInstanceUID": st.sampled_from(["1.2.3", "1.2.4"]),
    "SeriesDescription": WORDS,
    "ImageComments": WORDS,
    "InstitutionName": WORDS,
    "StationName": WORDS,
    "Manufacturer": WORDS,
    "OperatorsName": WORDS,
    "AcquisitionDate": st.sampled_from(["20200301", "20200302", "no"]),
    "AcquisitionTime": st.sampled_from(["101112", "101113.5"]),
    "Modality": st.sampled_from(["CT", "MR"]),
    "SpecificCharacterSet": st.sampled_from(["ISO_IR 100", "ISO_IR 192"]),
    "InstanceNumber": st.integers(1, 99).map(str),
    "SliceLocation": st.integers(-99, 99).map(str),
    "private": WORDS,
    "nested": WORDS,
    "nested patient": st.sampled_from(["4711", "4713", ""]),
    "pixels": st.binary(min_size=0, max_size=40).map(lambda data: data * 2),
}


def dataset_of(fields: dict[str, object], syntax: str, number: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"1.2.3.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.Modality = "1.2.3", "1.2.3.4", "CT"
    dataset.PatientID, dataset.StudyDate = "4711", "20200301"
    for name, value in fields.items():
        if name == "private":
            dataset.private_block(0x0009, "ACME", create=True).add_new(1, "LO", value)
        elif name.startswith("nested"):
            item = Dataset()
            item.PatientName, item.CodeMeaning = value, f"of {value}"
            item.PatientID = value if name == "nested patient" else "4711"
            setattr(dataset, "ReferencedStudySequence" if " " in name else "ReferencedImageSequence", [item])
        elif name == "pixels":
            dataset.add_new(0x7FE00010, "OW", value)
        else:
            setattr(dataset, name, value)
    return dataset


@st.composite
def series(draw: st.DrawFn) -> list[bytes]:
    """A few files of which most elements are the same, some of them damaged."""
    syntax = draw(st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]))
    fields = {name: draw(values) for name, values in FIELDS.items()}
    moving = draw(st.lists(st.sampled_from(sorted(FIELDS)), unique=True, max_size=4))
    files = []
    for number in range(draw(st.integers(3, 7))):
        changed = {name: draw(FIELDS[name]) for name in moving}
        stream = BytesIO()
        dcmwrite(stream, dataset_of(fields | changed, syntax, number), enforce_file_format=True)
        data = bytearray(stream.getvalue())
        if draw(st.integers(0, 5)) == 0:
            data[draw(st.integers(132, len(data) - 1))] ^= draw(st.sampled_from([1, 2, 32, 255]))
        files.append(bytes(data[: len(data) - draw(st.sampled_from([0, 0, 0, 0, 2]))]))
    return files


def answer(clean: Callable[[], Deidentified]) -> tuple[object, ...]:
    try:
        found = clean()
    except ItemError as error:
        return error.reason, error.message
    changes, remains = dict(found.changes), dict(found.remains())
    return found.data, found.patient_id, found.report, changes, remains, found.names()


@settings(max_examples=120, deadline=None)
@given(POLICIES, st.lists(series(), min_size=1, max_size=2), st.sampled_from([None, None, "Zqname"]))
def test_memory_never_shows(policy, several, patient):
    remembering = Deidentifier(policy, NAMES)
    files = [data for files in several for data in files]
    for data in [*files, *files[::-1]]:
        fresh = answer(partial(deidentify, data, policy, NAMES, patient=patient))
        assert answer(partial(remembering, data, patient=patient)) == fresh
