from __future__ import annotations

import hashlib

import numpy as np
import pytest
from pydicom.dataset import Dataset

from voxlake.core.errors import ItemError, UsageError
from voxlake.dicom.read import read_dataset
from voxlake.dicom.scan import scan
from voxlake.dicom.volume import assemble

IMAGE = np.arange(20, dtype=np.int16).reshape(4, 5)


@pytest.fixture
def series(make, written):
    """``series(images, heights, Keyword=value)`` -> rows and blobs; a list value goes slice by slice."""

    def build(images, heights=None, **elements):
        rows, blobs = [], []
        for index, image in enumerate(images):
            place = {} if heights is None else {
                "ImagePositionPatient": [0, 0, heights[index]],
                "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
                "PixelSpacing": [0.5, 0.75],
                "SliceThickness": 2,
            }  # fmt: skip
            own = {key: value[index] if isinstance(value, list) else value for key, value in elements.items()}
            blob = written(make(image, **place, **own))
            blobs.append(blob)
            rows.append(scan(read_dataset(blob), blob) | {"sha256": hashlib.sha256(blob).hexdigest()})
        return rows, blobs

    return build


def test_slices_are_sorted_and_rescaled_one_by_one(series):
    rows, blobs = series(
        [IMAGE + 2, IMAGE, IMAGE + 1],
        (4, 0, 2),
        RescaleSlope=["3", "1", "2"],
        RescaleIntercept="-1000",
        RescaleType="HU",
    )
    volume = assemble(rows, blobs)
    expected = np.stack([IMAGE * 1, (IMAGE + 1) * 2, (IMAGE + 2) * 3]) - 1000
    np.testing.assert_array_equal(volume.numpy(), expected)
    assert volume.dtype == np.int16
    assert (volume.unit, volume.modality) == ("HU", "CT")
    assert volume.grid.spacing == (2.0, 0.5, 0.75)
    assert volume.lineage.inputs == (rows[1]["sha256"], rows[2]["sha256"], rows[0]["sha256"])
    assert volume.lineage.steps == ()


@pytest.mark.parametrize(
    ("values", "slope", "intercept", "dtype"),
    [
        (np.array([[0, 32767]], np.uint16), "1", "0", np.int16),
        (np.array([[0, 32768]], np.uint16), "1", "0", np.float32),
        (np.array([[0, 60000]], np.uint16), "1", "-32768", np.int16),
        (np.array([[0, 10]], np.int16), "0.5", "0", np.float32),
        (np.array([[0, 10]], np.int16), "1", "0.5", np.float32),
        (np.array([[0, 10]], np.int16), "-4000", "0", np.float32),
        (np.array([[-32768, 10]], np.int16), "1", "0", np.int16),
    ],
)
def test_int16_only_where_it_is_exact(series, values, slope, intercept, dtype):
    volume = assemble(*series([values], (0,), RescaleSlope=slope, RescaleIntercept=intercept))
    assert volume.dtype == dtype
    np.testing.assert_array_equal(volume.numpy()[0], values.astype(float) * float(slope) + float(intercept))


def test_one_slice_that_does_not_fit_makes_the_volume_float(series):
    volume = assemble(*series([IMAGE, IMAGE], (0, 2), RescaleSlope=["1", "1.5"], RescaleIntercept="0"))
    assert volume.dtype == np.float32
    np.testing.assert_array_equal(volume.numpy()[1], IMAGE * 1.5)


@pytest.mark.parametrize(
    ("elements", "unit"),
    [
        ({}, "HU"),
        ({"RescaleType": "HU"}, "HU"),
        ({"RescaleType": "US", "ImageType": r"ORIGINAL\PRIMARY\AXIAL"}, "HU"),
        ({"RescaleType": "US", "ImageType": r"DERIVED\SECONDARY"}, "arbitrary"),
        ({"RescaleType": "MGML"}, "arbitrary"),
        ({"Modality": "MR"}, "arbitrary"),
        ({"ImageType": r"ORIGINAL\PRIMARY\LOCALIZER"}, "arbitrary"),
    ],
)
def test_hounsfield_units_need_a_reason(series, elements, unit):
    rows, blobs = series([IMAGE], (0,), RescaleSlope="1", RescaleIntercept="-1024", **elements)
    assert assemble(rows, blobs).unit == unit


def test_ct_without_rescale_is_arbitrary(series):
    volume = assemble(*series([IMAGE], (0,)))
    assert volume.unit == "arbitrary"
    np.testing.assert_array_equal(volume.numpy()[0], IMAGE)


@pytest.mark.parametrize(
    ("dtype", "stored", "values", "inverted"),
    [
        (np.uint16, 12, [0, 1, 4095], [4095, 4094, 0]),
        (np.uint8, 8, [0, 1, 255], [255, 254, 0]),
        (np.int16, 12, [-2048, 0, 2047], [2047, -1, -2048]),
    ],
)
def test_monochrome1_is_inverted_within_the_stored_bits(series, dtype, stored, values, inverted):
    rows, blobs = series(
        [np.array([values], dtype)],
        Modality="DX",
        PhotometricInterpretation="MONOCHROME1",
        BitsStored=stored,
        HighBit=stored - 1,
    )
    volume = assemble(rows, blobs)
    np.testing.assert_array_equal(volume.numpy()[0, 0], inverted)
    assert volume.lineage.steps == ("invert MONOCHROME1",)
    assert volume.grid.flat


def test_measured_values_are_not_inverted(series):
    rows, blobs = series([IMAGE], (0,), Modality="PT", PhotometricInterpretation="MONOCHROME1")
    volume = assemble(rows, blobs)
    np.testing.assert_array_equal(volume.numpy()[0], IMAGE)
    assert volume.lineage.steps == ()


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_a_modality_table_is_applied_before_the_inversion(series, photometric):
    table = Dataset()
    table.LUTDescriptor = [4, 0, 16]
    table["LUTDescriptor"].VR = "US"
    table.ModalityLUTType = "US"
    table.LUTData = [100, 200, 300, 400]
    table["LUTData"].VR = "US"
    rows, blobs = series(
        [np.array([[0, 3, 1]], np.uint16)],
        Modality="CR",
        PhotometricInterpretation=photometric,
        ModalityLUTSequence=[[table]],
    )
    volume = assemble(rows, blobs)
    expected = np.array([100, 400, 200])
    np.testing.assert_array_equal(
        volume.numpy()[0, 0], expected if photometric == "MONOCHROME2" else 65535 - expected
    )
    assert volume.lineage.steps[0] == "modality LUT"


def test_colour_is_uint8(series):
    colours = np.random.default_rng(3).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    volume = assemble(*series([colours], Modality="XC"))
    assert (volume.shape, volume.channels, volume.dtype) == ((1, 4, 5, 3), 3, np.uint8)
    np.testing.assert_array_equal(volume.numpy()[0], colours)


def test_colour_of_sixteen_bits_keeps_its_upper_eight(series):
    colours = np.array([[[0, 256, 65535]]], np.uint16)
    volume = assemble(*series([colours], Modality="XC"))
    np.testing.assert_array_equal(volume.numpy()[0, 0, 0], [0, 1, 255])


@pytest.mark.parametrize(
    ("heights", "reason"),
    [
        ((0, 2, 6), "geometry_gap"),
        ((0, 2, 4.7), "geometry_uneven"),
        ((0, 2, 2), "geometry_duplicates"),
    ],
)
def test_no_volume_over_a_bad_verdict(series, heights, reason):
    with pytest.raises(ItemError) as caught:
        assemble(*series([IMAGE] * 3, heights))
    assert caught.value.reason == reason


def test_several_flat_images_are_no_volume(series):
    with pytest.raises(ItemError) as caught:
        assemble(*series([IMAGE, IMAGE], Modality="DX"))
    assert caught.value.reason == "geometry_none"


def test_a_row_that_promises_more_frames_than_there_are(series):
    rows, blobs = series([IMAGE], (0,))
    rows[0] |= {
        "number_of_frames": 2,
        "frame_positions": [0, 0, 0, 0, 0, 2],
        "frame_orientations": [1, 0, 0, 0, 1, 0],
    }
    with pytest.raises(ItemError) as caught:
        assemble(rows, blobs)
    assert caught.value.reason == "decode_error"


def test_rows_and_bytes_must_go_together(series):
    rows, blobs = series([IMAGE], (0,))
    with pytest.raises(UsageError):
        assemble(rows, blobs * 2)


def test_frames_have_their_own_rescale(make, written):
    def group(z: float, slope: float) -> Dataset:
        place, values, frame = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, z]
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = slope, 1, "US"
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [place], [values]
        return frame

    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [1, 1], 2
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    blob = written(
        make(
            np.stack([IMAGE, IMAGE + 5]),
            Modality="MR",
            SharedFunctionalGroupsSequence=[shared],
            PerFrameFunctionalGroupsSequence=[group(2, 10), group(0, 3)],
        )
    )
    row = scan(read_dataset(blob), blob) | {"sha256": "a"}
    volume = assemble([row], [blob])
    np.testing.assert_array_equal(volume.numpy(), np.stack([(IMAGE + 5) * 3 + 1, IMAGE * 10 + 1]))
    assert volume.lineage.inputs == ("a",)
    assert volume.unit == "arbitrary"


def real_world(code, slope=None, intercept=None, first=0, last=99, table=None):
    item, unit = Dataset(), Dataset()
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = code, "UCUM", code
    item.MeasurementUnitsCodeSequence = [unit]
    item.add_new(0x00409216, "SS", first)
    item.add_new(0x00409211, "SS", last)
    if table is None:
        item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, intercept
    else:
        item.RealWorldValueLUTData = table
    return item


def test_a_real_world_value_map_speaks_where_no_rescale_does(series):
    maps = [real_world("um2/s", 7.0, 0.0, last=3), real_world("{SUVbw}g/ml", 0.25, 1.0)]
    volume = assemble(*series([IMAGE], (0,), Modality="PT", RealWorldValueMappingSequence=[maps]))
    np.testing.assert_array_equal(volume.numpy()[0], IMAGE * 0.25 + 1)
    assert volume.unit == "SUVbw"
    assert volume.lineage.steps == ("real-world value map to '{SUVbw}g/ml'",)


def test_a_real_world_table_is_looked_up(series):
    table = [float(value) ** 2 for value in range(20)]
    maps = [real_world("um2/s", last=19, table=table)]
    volume = assemble(*series([IMAGE], (0,), Modality="MR", RealWorldValueMappingSequence=[maps]))
    np.testing.assert_array_equal(volume.numpy()[0], IMAGE.astype(float) ** 2)


def test_a_rescale_goes_before_real_world_value_maps(series):
    maps = [real_world("um2/s", 7.0, 0.0)]
    stated = {"RescaleSlope": "2", "RescaleIntercept": "0", "RealWorldValueMappingSequence": [maps]}
    volume = assemble(*series([IMAGE], (0,), Modality="MR", **stated))
    np.testing.assert_array_equal(volume.numpy()[0], IMAGE * 2)
    assert volume.lineage.steps == ()
    # A rescale that changes nothing says nothing, unless it says HU.
    stated |= {"RescaleSlope": "1"}
    assert assemble(*series([IMAGE], (0,), Modality="MR", **stated)).numpy()[0, 0, 1] == 7
    assert assemble(*series([IMAGE], (0,), Modality="CT", **stated)).numpy()[0, 0, 1] == 1


def test_a_real_world_value_map_that_does_not_cover_the_values_is_not_applied(series):
    maps = [real_world("um2/s", 7.0, 0.0, last=18)]
    volume = assemble(*series([IMAGE], (0,), Modality="MR", RealWorldValueMappingSequence=[maps]))
    np.testing.assert_array_equal(volume.numpy()[0], IMAGE)
