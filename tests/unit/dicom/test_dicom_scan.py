from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from voxlake.dicom.frames import frame_groups
from voxlake.dicom.read import read_dataset
from voxlake.dicom.scan import scan
from voxlake.dicom.tags import BULK_LIMIT, VALUE_LIMIT, tags_as_json
from voxlake.store.schema import DERIVED_COLUMNS, HEADER_COLUMNS

VALUES = np.arange(12, dtype=np.int16).reshape(3, 4)


def item(**elements) -> Dataset:
    result = Dataset()
    for keyword, value in elements.items():
        setattr(result, keyword, value)
    return result


def test_every_column_of_the_schema_is_there(make):
    row = scan(make(VALUES))
    expected = {column.name for column in (*HEADER_COLUMNS, *DERIVED_COLUMNS)} | {
        "sop_instance_uid", "series_instance_uid", "study_instance_uid", "patient_id", "transfer_syntax_uid",
        "pixel_offset", "pixel_length", "tags",
    }  # fmt: skip
    assert set(row) == expected


def test_values_have_the_type_of_their_column(make, written):
    dataset = make(
        VALUES,
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        PatientID="p1 ",
        PatientWeight="71.5",
        SeriesNumber="4",
        SliceThickness="2.5",
        SoftwareVersions="one",
        ConvolutionKernel=["A", "B"],
        PixelSpacing=[0.5, 0.75],
        ImagePositionPatient=[1, 2, 3],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        RescaleSlope=2,
        RescaleIntercept=-1024,
        RescaleType="HU",
        WindowCenter=[40, 300],
        WindowWidth=[400, 1500],
    )
    row = scan(read_dataset(written(dataset)))
    picked = {
        "image_type": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "patient_id": "p1",
        "patient_weight": 71.5,
        "series_number": 4,
        "slice_thickness": 2.5,
        "software_versions": ["one"],
        "convolution_kernel": ["A", "B"],
        "pixel_spacing": [0.5, 0.75],
        "image_position_patient": [1.0, 2.0, 3.0],
        "image_orientation_patient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        "rescale_slope": 2.0,
        "rescale_intercept": -1024.0,
        "rescale_type": "HU",
        "window_center": 40.0,
        "window_width": 400.0,
        "rows": 3,
        "columns": 4,
        "number_of_frames": 1,
        "pixel_representation": 1,
        "transfer_syntax_uid": ExplicitVRLittleEndian,
    }
    assert {name: row[name] for name in picked} == picked
    assert isinstance(row["series_number"], int)
    assert row["frame_positions"] is None


@pytest.mark.parametrize(
    ("old", "new", "column"),
    [
        (b"DS\x04\x002.50", b"DS\x04\x00x.50", "slice_thickness"),
        (b"DS\x04\x002.50", b"DS\x04\x00    ", "slice_thickness"),
        (b"DS\x04\x002.50", b"DS\x04\x00nan ", "slice_thickness"),
        (b"DS\x04\x002.50", b"DS\x04\x001e99", None),
        (b"IS\x04\x001234", b"IS\x04\x0012.4", "series_number"),
        (b"IS\x04\x001234", b"IS\x04\x00abcd", "series_number"),
        (b"IS\x04\x001234", b"IS\x04\x00\xff\xfe\x00\x01", "series_number"),
    ],
)
def test_numbers_that_cannot_be_parsed_are_null(make, written, old, new, column):
    data = written(make(SliceThickness="2.50", SeriesNumber="1234"))
    assert old in data
    row = scan(read_dataset(data.replace(old, new)))
    if column is not None:
        assert row[column] is None
    other = "series_number" if column == "slice_thickness" else "slice_thickness"
    assert row[other] is not None
    json.loads(row["tags"])


def test_a_scalar_takes_the_first_of_several_values(make, written):
    data = written(make(BodyPartExamined="CHESTABD")).replace(b"CHESTABD", b"CHEST\\AB")
    assert scan(read_dataset(data))["body_part_examined"] == "CHEST"


def test_an_object_without_pixels_has_no_frames(make):
    row = scan(make(NumberOfFrames=4))
    assert row["number_of_frames"] is None


@pytest.mark.parametrize("count", ["0", "-3", ""])
def test_a_senseless_number_of_frames_counts_as_one(make, count):
    assert scan(make(VALUES, NumberOfFrames=count))["number_of_frames"] == 1


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_pixel_range_is_the_value_of_the_pixel_data(make, written, syntax):
    dataset = make(VALUES, StudyDescription="x" * 33)
    dataset.file_meta.TransferSyntaxUID = syntax
    data = written(dataset)
    row = scan(read_dataset(data), data)
    assert data[row["pixel_offset"] : row["pixel_offset"] + row["pixel_length"]] == VALUES.tobytes()


def test_pixel_range_of_compressed_data_has_no_length(make, written):
    dataset = make(VALUES)
    dataset.compress(pydicom.uid.RLELossless)
    data = written(dataset)
    row = scan(read_dataset(data), data)
    assert row["pixel_length"] is None
    assert data[row["pixel_offset"] :][:4] == b"\xfe\xff\x00\xe0"


def test_pixel_range_is_null_where_it_would_be_wrong(make, written):
    dataset = make(VALUES)
    data = written(dataset)
    # Made in memory, or read from other bytes than those stored.
    assert scan(dataset, data)["pixel_offset"] is None
    assert scan(read_dataset(data), b"\0\0" + data)["pixel_offset"] is None
    assert scan(read_dataset(data))["pixel_offset"] is None
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    deflated = written(dataset)
    assert scan(read_dataset(deflated), deflated)["pixel_offset"] is None


def enhanced(make, per_frame: list[Dataset], shared: Dataset) -> Dataset:
    return make(
        np.zeros((len(per_frame), 3, 4), np.int16),
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=per_frame,
    )


def frame(z: float, slope: float = 1.0, echo: float = 5.0) -> Dataset:
    return item(
        PlanePositionSequence=[item(ImagePositionPatient=[0, 0, z])],
        PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=0, RescaleType="US")],
        MREchoSequence=[item(EffectiveEchoTime=echo)],
    )


SHARED = {
    "PixelMeasuresSequence": [item(PixelSpacing=[0.5, 0.6], SliceThickness=2, SpacingBetweenSlices=3)],
    "PlaneOrientationSequence": [item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
}


def test_functional_groups_fill_the_columns(make):
    row = scan(enhanced(make, [frame(0), frame(3)], item(**SHARED)))
    assert row["pixel_spacing"] == [0.5, 0.6]
    assert (row["slice_thickness"], row["spacing_between_slices"]) == (2.0, 3.0)
    assert row["frame_positions"] == [0, 0, 0, 0, 0, 3]
    assert row["frame_orientations"] == [1, 0, 0, 0, 1, 0]
    assert row["image_orientation_patient"] == [1, 0, 0, 0, 1, 0]
    assert row["image_position_patient"] is None
    assert (row["rescale_slope"], row["rescale_type"], row["echo_time"]) == (1.0, "US", 5.0)
    assert row["number_of_frames"] == 2


def test_values_that_differ_between_frames_are_null(make):
    row = scan(enhanced(make, [frame(0, slope=1, echo=5), frame(3, slope=2, echo=7)], item(**SHARED)))
    assert row["rescale_slope"] is None
    assert row["echo_time"] is None


def test_positions_are_all_or_none(make):
    row = scan(enhanced(make, [frame(0), item()], item(**SHARED)))
    assert row["frame_positions"] is None


def test_one_frame_in_functional_groups_has_a_position(make):
    dataset = enhanced(make, [frame(4)], item(**SHARED))
    row = scan(dataset)
    assert row["image_position_patient"] == [0, 0, 4]
    assert row["frame_positions"] is None


def test_orientations_that_differ_are_listed(make):
    frames = [frame(0), frame(3)]
    frames[0].PlaneOrientationSequence = [item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]
    frames[1].PlaneOrientationSequence = [item(ImageOrientationPatient=[0, 1, 0, 0, 0, -1])]
    row = scan(enhanced(make, frames, item(PixelMeasuresSequence=SHARED["PixelMeasuresSequence"])))
    assert row["frame_orientations"] == [1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, -1]
    assert row["image_orientation_patient"] is None


def test_dose_frames_lie_along_the_normal(make):
    row = scan(
        make(
            np.zeros((3, 2, 2), np.uint16),
            Modality="RTDOSE",
            ImagePositionPatient=[1, 2, 3],
            ImageOrientationPatient=[1, 0, 0, 0, -1, 0],
            GridFrameOffsetVector=[0, 2, 5],
        )
    )
    assert row["frame_positions"] == [1, 2, 3, 1, 2, 1, 1, 2, -2]


def test_absolute_dose_offsets_are_left_alone(make):
    dataset = make(
        np.zeros((2, 2, 2), np.uint16),
        ImagePositionPatient=[1, 2, 3],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        GridFrameOffsetVector=[3, 5],
    )
    assert scan(dataset)["frame_positions"] is None
    assert not frame_groups(dataset)


def test_tags_hold_private_and_nested_elements(make, written):
    dataset = make(VALUES, ProcedureCodeSequence=[item(CodeValue="X1", CodeMeaning="größer")])
    block = dataset.private_block(0x0011, "ACME", create=True)
    block.add_new(0x01, "LO", "secret")
    tags = json.loads(scan(read_dataset(written(dataset)))["tags"])
    assert tags["00111001"] == {"vr": "LO", "Value": ["secret"]}
    assert tags["00081032"]["Value"][0]["00080100"]["Value"] == ["X1"]
    assert tags["00280010"] == {"vr": "US", "Value": [3]}
    assert "00020010" not in tags
    assert list(tags) == sorted(tags)


def test_bulk_data_are_left_out_and_counted(make):
    block_of = np.zeros((40, 40), np.int16)
    tags = json.loads(tags_as_json(make(block_of)))
    assert tags["7FE00010"] == {"vr": "OW", "omitted": block_of.nbytes}
    small = json.loads(tags_as_json(make(VALUES)))
    assert VALUES.nbytes < BULK_LIMIT
    assert "InlineBinary" in small["7FE00010"]


def test_unreadable_elements_are_recorded(make, written):
    data = written(make(SliceThickness="2.50", KVP="120"))
    tags = json.loads(scan(read_dataset(data.replace(b"DS\x04\x002.50", b"DS\x04\x00x.50")))["tags"])
    assert tags["00180050"] == {"vr": "DS", "error": "unreadable"}
    assert tags["00180060"]["Value"] == [120.0]


def test_numbers_unknown_to_json_are_texts(make):
    dataset = make()
    dataset.add_new(0x00189087, "FD", [float("nan"), float("inf"), float("-inf"), 1.5])
    tags = json.loads(tags_as_json(dataset))
    assert tags["00189087"]["Value"] == ["NaN", "inf", "-inf", 1.5]


def test_texts_and_lists_without_end_are_left_out():
    dataset = Dataset()
    dataset.TextValue = "x" * (VALUE_LIMIT + 1)
    dataset.add_new(0x00283006, "US", [1] * (VALUE_LIMIT + 1))
    dataset.ImageComments = "y" * 100
    tags = json.loads(tags_as_json(dataset))
    assert tags["0040A160"] == {"vr": "UT", "omitted": VALUE_LIMIT + 1}
    assert tags["00283006"] == {"vr": "US", "omitted": VALUE_LIMIT + 1}
    assert tags["00204000"]["Value"] == ["y" * 100]
