from __future__ import annotations

import hashlib
import hmac
import re
from datetime import date, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from voxlake.privacy.dates import shift_date, shift_datetime
from voxlake.privacy.deidentify import deidentify
from voxlake.privacy.policy import load_policy
from voxlake.privacy.pseudonyms import Pseudonymiser, is_well_known


class Key:
    def __init__(self, secret: bytes) -> None:
        self.secret = secret

    def mac(self, purpose: str, data: bytes) -> bytes:
        return hmac.new(self.secret, purpose.encode() + b"\0" + data, hashlib.sha256).digest()


ONE = Pseudonymiser(Key(b"1" * 32))
OTHER = Pseudonymiser(Key(b"2" * 32))
NAMES = st.text(min_size=1, max_size=64).filter(lambda text: text.strip(" \0\t\r\n") == text)


@settings(max_examples=100, deadline=None)
@given(NAMES)
def test_patient_pseudonyms(original):
    pseudonym = ONE.patient(original)
    assert re.fullmatch(r"P-[A-Z2-7]{13}", pseudonym)
    assert pseudonym == ONE.patient(f"  {original}\0 ")
    assert pseudonym != OTHER.patient(original)
    assert pseudonym[2:] != ONE.token("patient", original)
    assert ONE.token("accession", original) != ONE.token("file", original)


@settings(max_examples=100, deadline=None)
@given(st.lists(NAMES, min_size=2, max_size=20, unique=True))
def test_different_patients_differ(originals):
    import unicodedata

    unique = {unicodedata.normalize("NFC", original) for original in originals}
    assert len({ONE.patient(original) for original in originals}) == len(unique)


def test_composed_and_decomposed_spelling_are_one_patient():
    assert ONE.patient("Mu\u0308ller") == ONE.patient("M\u00fcller")


@settings(max_examples=100, deadline=None)
@given(st.from_regex(r"[1-9]\.[0-9]{1,10}(\.[1-9][0-9]{0,8}){1,4}", fullmatch=True))
def test_uids(original):
    mapped = ONE.uid(original)
    assert re.fullmatch(r"2\.25\.(0|[1-9][0-9]{0,38})", mapped)
    assert len(mapped) <= 64
    assert mapped == ONE.uid(original + "\0") != OTHER.uid(original)


def test_well_known_uids_stay():
    for uid in (CTImageStorage, ExplicitVRLittleEndian, "1.2.840.10008.2.16.4", "1.2.840.10008.1.4.1.1"):
        assert is_well_known(uid)
        assert ONE.uid(uid) == uid
    assert not is_well_known("1.2.840.10008.9.9.9")


@settings(max_examples=200, deadline=None)
@given(NAMES, st.integers(1, 36500))
def test_shift_is_never_zero_and_within_bounds(original, maximum):
    assert 1 <= ONE.shift_days(original, maximum=maximum) <= maximum


def test_shifts_spread_over_the_whole_range():
    shifts = [ONE.shift_days(f"patient {number}") for number in range(2000)]
    assert len(set(shifts)) > 1400
    assert min(shifts) < 50
    assert max(shifts) > 3600


DATES = st.dates(date(1900, 1, 1), date(2100, 12, 31))


@settings(max_examples=200, deadline=None)
@given(DATES, DATES, NAMES)
def test_intervals_between_dates_are_kept_exactly(first, second, patient):
    days = ONE.shift_days(patient)
    moved = [datetime.strptime(shift_date(f"{day:%Y%m%d}", days), "%Y%m%d").date() for day in (first, second)]
    assert moved[1] - moved[0] == second - first
    assert moved[0] == first - timedelta(days=days)


@settings(max_examples=100, deadline=None)
@given(DATES, st.sampled_from(["", "12", "1259", "125958", "125958.000001", "125958.1+0100", "-0500"]))
def test_datetimes_keep_their_time_of_day(day, rest):
    assert shift_datetime(f"{day:%Y%m%d}{rest}", 400) == shift_date(f"{day:%Y%m%d}", 400) + rest


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_either_a_date_or_nothing(text):
    assert re.fullmatch(r"(\d{8})?", shift_date(text, 1000))


TOKEN = "ZQXTOKEN"
# Elements that must not survive in any policy, under their VR.
SENSITIVE = st.sampled_from(
    [
        ("PatientName", TOKEN),
        ("PatientID", TOKEN),
        ("OtherPatientIDs", TOKEN),
        ("ReferringPhysicianName", TOKEN),
        ("InstitutionName", TOKEN),
        ("PatientAddress", TOKEN),
        ("AccessionNumber", TOKEN),
        ("StudyDescription", f"CT of {TOKEN} head"),
        ("ImageComments", f"x{TOKEN}x"),
        ("ContrastBolusAgent", TOKEN),
        ("ManufacturerModelName", f"Model {TOKEN}"),
        ("SOPInstanceUID", "1.2.3"),
        ("RequestingPhysician", TOKEN),
        ("DeviceSerialNumber", TOKEN),
        ("CodeMeaning", TOKEN),
    ]
)
SEQUENCES = st.sampled_from(
    [
        "ReferencedImageSequence",
        "RequestAttributesSequence",
        "SharedFunctionalGroupsSequence",
        "ContentSequence",
        "AnatomicRegionSequence",
        "SourceImageSequence",
        "AdmittingDiagnosesCodeSequence",
        "OtherPatientIDsSequence",
    ]
)


def dataset_of(tree) -> Dataset:
    leaves, branches, private = tree
    dataset = Dataset()
    for keyword, value in leaves:
        setattr(dataset, keyword, value)
    for keyword, children in branches:
        setattr(dataset, keyword, Sequence([dataset_of(child) for child in children]))
    if private:
        block = dataset.private_block(0x0029, "SOMEBODY", create=True)
        block.add_new(0x01, "LO", TOKEN)
        block.add_new(0x02, "SQ", Sequence([dataset_of(([("PatientName", TOKEN)], [], False))]))
    return dataset


TREES = st.recursive(
    st.tuples(st.lists(SENSITIVE, max_size=4), st.just([]), st.booleans()),
    lambda inner: st.tuples(
        st.lists(SENSITIVE, max_size=3),
        st.lists(st.tuples(SEQUENCES, st.lists(inner, max_size=2)), max_size=3),
        st.booleans(),
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(TREES, st.sampled_from(["basic", "research"]), st.booleans())
def test_no_token_survives_in_any_nesting(tree, policy, implicit):
    dataset = dataset_of(tree)
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.StudyInstanceUID = "1.2.3"
    dataset.PatientName = TOKEN
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    result = deidentify(dataset, load_policy(policy), ONE)
    assert TOKEN.encode() not in result.data
    assert b"1.2.3.4" not in result.data
    assert b"SOMEBODY" not in result.data
    assert result.dataset.PatientName == result.dataset.PatientID
    again = deidentify(dataset, load_policy(policy), ONE)
    assert again.data == result.data
