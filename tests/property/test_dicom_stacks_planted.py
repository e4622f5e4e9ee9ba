"""Several volumes are planted on one grid and shuffled; the split must find exactly them."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from voxlake.dicom.geometry import judge
from voxlake.dicom.stacks import series_verdict, split

# Name in the label -> column and a value for each number. Sorted by number they ascend.
ATTRIBUTES = {
    "echo_time": lambda number: {"echo_time": 4.5 + number},
    "diffusion_b_value": lambda number: {"diffusion_b_value": 500.0 * number},
    "temporal_position": lambda number: {"temporal_position_identifier": number + 1},
    "inversion_time": lambda number: {"inversion_time": 100.0 + 50 * number},
    "trigger_time": lambda number: {"frame_values": json.dumps({"trigger_time": 12.5 * number})},
    "cardiac_phase": lambda number: {"frame_values": json.dumps({"cardiac_phase": 10.0 * number})},
    "image_type": lambda number: {"image_type": ["ORIGINAL", "PRIMARY", "MPRI"[number % 4] + str(number)]},
    "acquisition_number": lambda number: {"acquisition_number": number + 1},
}


@st.composite
def volumes_rows(draw: st.DrawFn, slices: int) -> list[dict]:
    """Rows of one volume, at a drawn place and orientation."""
    rotation = Rotation.random(random_state=draw(st.integers(0, 2**32 - 1))).as_matrix()
    right, down = rotation[:, 0], rotation[:, 1]
    step = draw(st.floats(0.5, 6.0)) * np.cross(right, down)
    origin = np.array(draw(st.tuples(*[st.floats(-500, 500)] * 3)))
    return [
        {
            "rows": 8,
            "columns": 6,
            "number_of_frames": 1,
            "modality": "MR",
            "samples_per_pixel": 1,
            "photometric_interpretation": "MONOCHROME2",
            "pixel_spacing": [1.5, 1.25],
            "image_position_patient": list(origin + step * index),
            "image_orientation_patient": [*right, *down],
            "slice": index,
        }
        for index in range(slices)
    ]


@st.composite
def labelled(draw: st.DrawFn) -> tuple[list[dict], tuple[str, ...], int]:
    """Shuffled rows, the names that tell their volumes apart, the number of slices."""
    slices = draw(st.integers(2, 9))
    names = tuple(draw(st.permutations([*ATTRIBUTES]))[: draw(st.integers(1, 2))])
    if set(names) == {"trigger_time", "cardiac_phase"}:
        names = names[:1]
    sizes = [draw(st.integers(2, 4)) for _ in names]
    places, rows = draw(volumes_rows(slices)), []
    for volume, numbers in enumerate(np.ndindex(*sizes)):
        values = {}
        for name, number in zip(names, numbers, strict=True):
            values |= ATTRIBUTES[name](number)
        rows += [row | values | {"volume": volume} for row in places]
    return draw(st.permutations(rows)), names, slices


def found(rows: list[dict]) -> list[list[tuple[int, int]]]:
    """(volume, slice) of every slice of every stack."""
    return [
        [(rows[instance]["volume"], rows[instance]["slice"]) for instance, _ in stack.verdict.order]
        for stack in split(rows)
    ]


@settings(max_examples=60, deadline=None)
@given(labelled())
def test_the_planted_volumes_are_found(plant):
    rows, names, slices = plant
    volumes = found(rows)
    expected = [[(volume, index) for index in range(slices)] for volume in {row["volume"] for row in rows}]
    assert sorted(volumes) == sorted(expected)
    stacks = split(rows)
    assert {name for stack in stacks for name, _ in stack.label} == set(names)
    assert len({stack.label for stack in stacks}) == len(stacks)
    assert len({stack.verdict.grid for stack in stacks}) == 1
    verdict = series_verdict(stacks)
    assert (verdict.kind, verdict.slices) == ("regular", slices)
    assert [stack.number for stack in stacks] == list(range(1, len(stacks) + 1))
    # The numbers do not hang on the order in which the files came.
    again = split(list(reversed(rows)))
    assert [stack.label for stack in again] == [stack.label for stack in stacks]


@settings(max_examples=40, deadline=None)
@given(labelled(), st.data())
def test_a_slice_missing_in_one_volume_is_a_gap_in_that_volume_alone(plant, data):
    rows, _, slices = plant
    if slices < 4:
        return
    volume = data.draw(st.integers(0, max(row["volume"] for row in rows)))
    index = data.draw(st.integers(1, slices - 2))
    left = [row for row in rows if (row["volume"], row["slice"]) != (volume, index)]
    kinds = {left[stack.instances[0]]["volume"]: stack.verdict.kind for stack in split(left)}
    assert kinds == {row["volume"]: "gap" if row["volume"] == volume else "regular" for row in rows}
    assert series_verdict(split(left)).kind == "gap"


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 8), st.integers(2, 5), st.booleans(), st.data())
def test_volumes_that_only_their_order_tells_apart(slices, volumes, interleaved, data):
    places = data.draw(volumes_rows(slices))
    rows = [
        row
        | {
            "volume": volume,
            "instance_number": 1
            + (volume + volumes * row["slice"] if interleaved else volume * slices + row["slice"]),
        }
        for volume in range(volumes)
        for row in places
    ]
    rows = data.draw(st.permutations(rows))
    assert found(rows) == [[(volume, index) for index in range(slices)] for volume in range(volumes)]
    assert [stack.label for stack in split(rows)] == [(("repeat", str(n + 1)),) for n in range(volumes)]
    # One image twice: nothing tells which volume has one too many, so nothing is made up.
    stacks = split([*rows, rows[0] | {"instance_number": 999}])
    assert [stack.verdict.kind for stack in stacks] == ["duplicates"]


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 20), st.data())
def test_a_plain_series_is_never_split(slices, data):
    # Whatever differs from slice to slice: there is one image at each place.
    rows = [
        row
        | {
            "volume": 0,
            "acquisition_number": data.draw(st.integers(1, 3)),
            "echo_time": data.draw(st.sampled_from([2.0, 3.0])),
            "image_type": ["ORIGINAL", "PRIMARY", data.draw(st.sampled_from("AB"))],
        }
        for row in data.draw(volumes_rows(slices))
    ]
    stacks = split(rows)
    assert [(stack.number, stack.label) for stack in stacks] == [(1, ())]
    assert stacks[0].verdict == judge(rows)


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 6), st.integers(1, 4), st.data())
def test_localizers_in_three_planes_are_three_stacks(slices, numbered, data):
    rotation = Rotation.random(random_state=data.draw(st.integers(0, 2**32 - 1)))
    rows = []
    for volume, sides in enumerate(
        (((1, 0, 0), (0, 1, 0)), ((0, 1, 0), (0, 0, -1)), ((1, 0, 0), (0, 0, -1)))
    ):
        right, down = rotation.apply(sides)
        for index in range(slices):
            rows.append(
                data.draw(volumes_rows(1))[0]
                | {
                    "image_position_patient": list(np.cross(right, down) * 5 * index),
                    "image_orientation_patient": [*right, *down],
                    "volume": volume,
                    "slice": index,
                    "instance_number": numbered + volume * slices + index,
                }
            )
    rows = data.draw(st.permutations(rows))
    assert found(rows) == [[(volume, index) for index in range(slices)] for volume in range(3)]
    stacks = split(rows)
    assert {name for stack in stacks for name, _ in stack.label} == {"orientation"}
    assert series_verdict(stacks).kind == "regular"


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 12), st.floats(0.1, 0.9), st.data())
def test_orientations_that_scatter_are_one_mixed_series(slices, degrees, data):
    rows = data.draw(volumes_rows(slices))
    for number, row in enumerate(rows):
        turn = Rotation.from_rotvec(np.radians(degrees) * (number % 2) * np.array([1.0, 0.0, 0.0]))
        cosines = np.reshape(rows[0]["image_orientation_patient"], (2, 3))
        row["image_orientation_patient"] = list(turn.apply(cosines).ravel())
    assert [stack.verdict.kind for stack in split(rows)] in (["mixed"], ["regular"])
    if (
        max(np.abs(np.subtract(rows[0]["image_orientation_patient"], rows[1]["image_orientation_patient"])))
        > 2e-3
    ):
        assert series_verdict(split(rows)).kind == "mixed"


def test_other_sizes_are_stacks_and_the_series_is_mixed():
    rows = [
        {
            "rows": 8 if index < 3 else 16,
            "columns": 6,
            "number_of_frames": 1,
            "modality": "MR",
            "pixel_spacing": [1.0, 1.0],
            "image_position_patient": [0.0, 0.0, 2.0 * (index % 3)],
            "image_orientation_patient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            "instance_number": index,
        }
        for index in range(6)
    ]
    stacks = split(rows)
    assert [(stack.label, stack.verdict.kind, stack.verdict.order) for stack in stacks] == [
        ((("size", "8x6"),), "regular", ((0, 0), (1, 0), (2, 0))),
        ((("size", "16x6"),), "regular", ((3, 0), (4, 0), (5, 0))),
    ]
    verdict = series_verdict(stacks)
    assert (verdict.kind, verdict.note) == ("mixed", "2 volumes of 3 slices, by size")


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 6), st.integers(2, 5), st.data())
def test_frames_of_one_object_are_split_by_their_own_values(slices, volumes, data):
    order = data.draw(st.permutations([(v, i) for v in range(volumes) for i in range(slices)]))
    row = {
        "rows": 8,
        "columns": 6,
        "number_of_frames": len(order),
        "modality": "MR",
        "pixel_spacing": [1.0, 1.0],
        "frame_positions": [part for _, index in order for part in (0.0, 0.0, 3.0 * index)],
        "frame_orientations": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        "frame_values": json.dumps({"echo_time": [2.5 * (volume + 1) for volume, _ in order]}),
    }
    stacks = split([row])
    assert [stack.label for stack in stacks] == [
        (("echo_time", f"{2.5 * (v + 1):g}"),) for v in range(volumes)
    ]
    for volume, stack in enumerate(stacks):
        assert [order[frame] for _, frame in stack.verdict.order] == [(volume, i) for i in range(slices)]


def test_trigger_times_that_differ_from_slice_to_slice_count_the_phases():
    # Each slice has its own heart beats, so that no two images share a trigger time.
    rows = [
        {
            "rows": 8,
            "columns": 6,
            "number_of_frames": 1,
            "modality": "MR",
            "pixel_spacing": [1.0, 1.0],
            "image_position_patient": [0.0, 0.0, 8.0 * index],
            "image_orientation_patient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            "frame_values": json.dumps({"trigger_time": 40.0 * phase + index}),
            "instance_number": 100 - phase,
            "volume": phase,
            "slice": index,
        }
        for index in range(4)
        for phase in range(5)
    ]
    assert found(rows) == [[(phase, index) for index in range(4)] for phase in range(5)]
