from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from voxlake.dicom.real_world import chosen_map, real_world_maps, referenced_maps


def mapping(first: int, last: int, code: str = "Bq/ml", **values: object) -> Dataset:
    item, unit = Dataset(), Dataset()
    item.add_new(0x00409216, "SS", first)
    item.add_new(0x00409211, "SS", last)
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = code, "UCUM", code
    item.MeasurementUnitsCodeSequence = Sequence([unit])
    item.LUTLabel = "map"
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def image(*maps: Dataset) -> Dataset:
    dataset = Dataset()
    dataset.RealWorldValueMappingSequence = Sequence(maps)
    return dataset


def test_a_linear_map():
    dataset = image(mapping(-5, 5, RealWorldValueSlope=2.5, RealWorldValueIntercept=-1.0))
    stored = np.arange(-5, 6, dtype=np.int16)
    (one,) = real_world_maps(dataset)
    assert one.unit == "Bq/ml"
    assert one(stored).tolist() == [-13.5, -11, -8.5, -6, -3.5, -1, 1.5, 4, 6.5, 9, 11.5]
    assert one.covers(-5, 5)
    assert not one.covers(-6, 5)


def test_a_table_holds_inside_and_is_nan_outside():
    dataset = image(mapping(2, 4, "um2/s", RealWorldValueLUTData=[0.5, 8.0, -1.0]))
    (one,) = real_world_maps(dataset)
    assert one(np.array([2, 3, 4, 3], dtype=np.int16)).tolist() == [0.5, 8, -1, 8]
    assert np.isnan(one(np.array([1, 5]))).all()
    assert (one.unit, one.code) == ("arbitrary", "um2/s")


@pytest.mark.parametrize(
    "item",
    [
        mapping(2, 4),
        mapping(4, 2, RealWorldValueSlope=1.0, RealWorldValueIntercept=0.0),
        mapping(2, 9, RealWorldValueLUTData=[1.0, 2.0]),
        mapping(2, 4, RealWorldValueSlope=1.0),
    ],
    ids=["nothing", "backwards", "short table", "no intercept"],
)
def test_a_map_that_says_nothing_is_left_out(item):
    assert real_world_maps(image(item)) == ()


def test_the_map_that_covers_all_values_and_has_a_known_unit_is_chosen():
    line = {"RealWorldValueSlope": 1.0, "RealWorldValueIntercept": 0.0}
    narrow, unknown, known = mapping(0, 5, **line), mapping(0, 99, "1", **line), mapping(0, 99, **line)
    maps = real_world_maps(image(narrow, unknown, known))
    assert chosen_map(maps, 0, 50) is maps[2]
    assert chosen_map(maps, 0, 5) is maps[0]
    assert chosen_map(maps[:2], 0, 50) is maps[1]
    assert chosen_map(maps, 0, 100) is None


def test_the_maps_of_a_frame_go_before_those_of_all():
    line = {"RealWorldValueIntercept": 0.0}
    frames = [image(mapping(0, 9, RealWorldValueSlope=float(slope), **line)) for slope in (1, 2)]
    dataset = Dataset()
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    dataset.SharedFunctionalGroupsSequence = Sequence([image(mapping(0, 9, RealWorldValueSlope=7.0, **line))])
    assert [one.slope for one in real_world_maps(dataset, 1)] == [2, 7]


def test_an_object_with_maps_for_other_images():
    dataset, group, reference = Dataset(), image(), Dataset()
    group.RealWorldValueMappingSequence = Sequence(
        [mapping(0, 99, "{SUVbw}g/ml", RealWorldValueSlope=0.5, RealWorldValueIntercept=0.0)]
    )
    reference.ReferencedSOPInstanceUID = "1.2.3"
    group.ReferencedImageSequence = Sequence([reference])
    dataset.ReferencedImageRealWorldValueMappingSequence = Sequence([group])
    (found,) = referenced_maps(dataset)
    assert found.instances == {"1.2.3"}
    assert [(one.unit, one.slope) for one in found.maps] == [("SUVbw", 0.5)]
