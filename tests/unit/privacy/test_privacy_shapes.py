"""Shapes: equal treatment, equal digest; no numbers of items, no values; never too large."""

from __future__ import annotations

import pickle
from io import BytesIO

import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from voxlake.core.digest import digest_json
from voxlake.privacy.changes import Change, Changes
from voxlake.privacy.deidentify import Deidentified, deidentify
from voxlake.privacy.policy import POLICY_VERSION, load_policy
from voxlake.privacy.profile import load_profile
from voxlake.privacy.pseudonyms import Pseudonymiser
from voxlake.privacy.shapes import MOST_ROWS, dicom_shape, image_shape, without_numbers
from voxlake.store.keys import LakeKey

TOKEN = "ZQXPLANTED"
RESEARCH = load_policy("research")
PSEUDONYMS = Pseudonymiser(LakeKey(bytes(range(32))))


def dicom(number: int = 1, references: int = 2, **values: object) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"1.2.3.4.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    dataset.PatientName, dataset.PatientID, dataset.StudyID = f"{TOKEN}^A", TOKEN, TOKEN
    dataset.Modality, dataset.InstanceNumber = "CT", number
    items = []
    for place in range(references):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, f"1.9.{number}.{place}"
        items.append(item)
    dataset.ReferencedImageSequence = items
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    stream = BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def test_slices_of_a_series_have_one_shape_however_many_items_they_hold():
    one, two = (deidentify(dicom(n, 2 + n), RESEARCH, PSEUDONYMS) for n in (1, 2))
    first, second = dicom_shape(one, RESEARCH), dicom_shape(two, RESEARCH)
    assert first is second
    assert len(one.report) < len(two.report)
    mapped = Change("(0008,1140).(0008,1155)", "ReferencedSOPInstanceUID", "uid_mapped", "Table E.1-1 U")
    assert mapped in first.actions
    assert first.remains == tuple(sorted(one.remains().items()))
    assert set(first.actions) == {each._replace(path=without_numbers(each.path)) for each in two.report}
    assert (first.format, first.policy_version, first.profile_edition) == (
        "dicom",
        POLICY_VERSION,
        load_profile().edition,
    )


def test_another_element_action_waiver_or_policy_is_another_shape():
    clean = deidentify(dicom(), RESEARCH, PSEUDONYMS)
    more = deidentify(dicom(StudyDate="20200101"), RESEARCH, PSEUDONYMS)
    basic = load_policy("basic")
    shapes = [
        dicom_shape(clean, RESEARCH),
        dicom_shape(more, RESEARCH),
        dicom_shape(clean, RESEARCH, ("burned_in",)),
        dicom_shape(deidentify(dicom(), basic, PSEUDONYMS), basic),
    ]
    assert len({shape.digest for shape in shapes}) == 4
    assert shapes[2].waived == ("burned_in",)
    assert dicom_shape(clean, RESEARCH, ["b", "a"]) == dicom_shape(clean, RESEARCH, ("a", "b"))


def test_the_digest_is_over_all_of_it_and_survives_a_trip_to_another_process():
    shape = dicom_shape(deidentify(dicom(), RESEARCH, PSEUDONYMS), RESEARCH)
    names = (
        "format", "policy", "policy_digest", "policy_version", "profile_edition", "voxlake", "waived",
        "actions", "remains",
    )  # fmt: skip
    assert shape.digest == digest_json({name: getattr(shape, name) for name in names})
    copy = pickle.loads(pickle.dumps(shape))
    assert copy == shape
    assert copy.digest == shape.digest
    assert load_policy(shape.policy) == RESEARCH


def test_no_value_is_in_a_shape():
    shape = dicom_shape(deidentify(dicom(StudyDescription=f"for {TOKEN}"), RESEARCH, PSEUDONYMS), RESEARCH)
    assert TOKEN not in repr(shape)
    assert "1.2.3.4" not in repr(shape)


@pytest.mark.parametrize(
    ("policy", "changed", "action"),
    [
        ("research", True, ("metadata_stripped", "metadata of png files")),
        ("research", False, ("kept", "no metadata in this png file")),
        ("none", True, ("kept", "policy none")),
    ],
)
def test_an_image_has_one_line_for_the_whole_file(policy, changed, action):
    shape = image_shape("png", load_policy(policy), changed=changed, waived=("png",))
    assert shape.actions == (Change("", "", *action),)
    assert (shape.format, shape.remains, shape.waived) == ("png", (), ("png",))


def test_policy_none_says_so():
    none = load_policy("none")
    shape = dicom_shape(deidentify(dicom(), none, PSEUDONYMS), none)
    assert shape.actions == (Change("", "", "kept", "policy none"),)
    assert 'profile = "none"' in shape.policy


@pytest.mark.parametrize(("groups", "rows"), [(3, 3), (20_000, 1)])
def test_a_shape_of_a_strangers_making_stays_small(groups, rows):
    changes = Changes()
    for number in range(20_000):
        group = 0x0009 + 2 * (number % groups)
        changes.note("(0008,1140)[3].", group << 16 | 0x1000 + number // groups, "removed", "private")
    shape = dicom_shape(Deidentified(b"", None, changes), RESEARCH)
    assert len(shape.actions) == rows < MOST_ROWS
    path = "(0008,1140).(0009,xxxx)" if rows > 1 else "(xxxx,xxxx).(xxxx,xxxx)"
    assert shape.actions[0] == Change(path, "", "private_removed", "private")


def test_numbers_of_items_go_at_every_depth():
    assert (
        without_numbers("(0008,1115)[0].(0008,1199)[12].(0008,1150)") == "(0008,1115).(0008,1199).(0008,1150)"
    )
    assert without_numbers("(0010,0010)") == "(0010,0010)"
