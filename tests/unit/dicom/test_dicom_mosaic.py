"""Mosaics and values of frames: what is read before de-identification takes it away."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from pydicom.dataset import Dataset

from voxlake.core.errors import ItemError
from voxlake.dicom.geometry import judge
from voxlake.dicom.mosaic import untile
from voxlake.dicom.physics import read_physics
from voxlake.dicom.read import read_dataset
from voxlake.dicom.scan import scan
from voxlake.dicom.stacks import split
from voxlake.dicom.volume import assemble


def csa(values: dict[str, list[str]]) -> bytes:
    body = b"SV10" + b"\4\3\2\1" + struct.pack("<II", len(values), 77)
    for name, texts in values.items():
        body += struct.pack("<64si4siii", name.encode(), len(texts), b"FD\0\0", 4, len(texts), 77)
        for text in texts:
            raw = text.encode() + b"\0"
            body += struct.pack("<4i", len(raw), len(raw), 77, len(raw)) + raw + bytes(-len(raw) % 4)
    return body


def item(**elements) -> Dataset:
    result = Dataset()
    for keyword, value in elements.items():
        setattr(result, keyword, value)
    return result


def mosaic(make, normal: tuple[float, float, float] | None = (0, 0, 1), **elements) -> Dataset:
    """Five tiles of 2 x 3 pixels in a square of nine; tile n holds the value n."""
    sheet = np.kron(np.arange(9, dtype=np.int16).reshape(3, 3), np.ones((2, 3), dtype=np.int16))
    dataset = make(
        sheet,
        **{
            "Modality": "MR",
            "ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"],
            "ImagePositionPatient": [-10.0, -20.0, 5.0],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "PixelSpacing": [2.0, 4.0],
            "SpacingBetweenSlices": 3.0,
            **elements,
        },
    )
    block = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0A, "US", 5)
    if normal is not None:
        header = csa({"SliceNormalVector": [f"{part:.8f}" for part in normal]})
        dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", header)
    return dataset


@pytest.mark.parametrize("direction", [1, -1])
def test_the_place_of_every_tile(make, direction):
    physics = read_physics(mosaic(make, (0, 0, direction)))
    assert physics["mosaic_layout"] == [3, 3]
    # Half of what the sheet (6 x 9 pixels) is larger than a tile (2 x 3): two rows, three columns.
    expected = [(-10 + 3 * 4.0, -20 + 2 * 2.0, 5 + 3.0 * direction * tile) for tile in range(5)]
    np.testing.assert_allclose(np.reshape(physics["mosaic_positions"], (5, 3)), expected)


@pytest.mark.parametrize("direction", [1, -1])
def test_a_mosaic_is_a_volume_with_its_slices_in_order(make, written, direction):
    blob = written(mosaic(make, (0, 0, direction)))
    row = scan(read_dataset(blob), blob) | {"sha256": "a"}
    volume = assemble([row], [blob])
    assert volume.shape == (5, 2, 3)
    tiles = range(5) if direction == 1 else range(4, -1, -1)
    assert [np.unique(values).tolist() for values in volume.numpy()] == [[tile] for tile in tiles]
    np.testing.assert_allclose(volume.grid.spacing, (3.0, 2.0, 4.0))
    np.testing.assert_allclose(volume.grid.origin, (2.0, -16.0, 5.0 if direction == 1 else -7.0))


@pytest.mark.parametrize(
    ("change", "normal"),
    [
        ({}, None),
        ({}, (1, 0, 0)),
        ({"SpacingBetweenSlices": None}, (0, 0, 1)),
        ({"ImagePositionPatient": None}, (0, 0, 1)),
        ({"PixelSpacing": None}, (0, 0, 1)),
    ],
)
def test_a_mosaic_that_does_not_say_where_its_tiles_lie_is_none(make, change, normal):
    row = scan(mosaic(make, normal, **change))
    assert (row["mosaic_tiles"], row["mosaic_positions"]) == (5, None)
    verdict = judge([row])
    assert (verdict.kind, verdict.grid) == ("none", None)
    assert "mosaic" in verdict.note
    assert [stack.verdict.kind for stack in split([row])] == ["none"]


def test_a_sheet_that_is_not_of_whole_tiles_has_no_layout(make):
    dataset = mosaic(make)
    dataset.Columns = 8
    assert read_physics(dataset)["mosaic_layout"] is None
    with pytest.raises(ItemError, match="tiles"):
        untile(np.zeros((1, 6, 8)), [3, 3])
    with pytest.raises(ItemError, match="tiles"):
        untile(np.zeros((2, 6, 9)), [3, 3])


def test_uih_states_the_place_of_every_tile(make):
    dataset = make(np.zeros((4, 6), dtype=np.int16), ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    block = dataset.private_block(0x0065, "Image Private Header", create=True)
    block.add_new(0x50, "DS", "5")
    block.add_new(0x51, "SQ", [item(ImagePositionPatient=[1, 2, 3 * tile]) for tile in range(5)])
    physics = read_physics(dataset)
    assert physics["mosaic_layout"] == [2, 3]
    assert physics["mosaic_positions"] == [part for tile in range(5) for part in (1.0, 2.0, 3.0 * tile)]
    dataset[block.get_tag(0x51)].value.pop()
    assert read_physics(dataset)["mosaic_positions"] is None


def frames(make, *groups: dict, shared: dict | None = None) -> dict:
    """`frame_values` of an object whose frames have these functional groups."""
    dataset = make(np.zeros((len(groups), 2, 2), dtype=np.int16))
    dataset.SharedFunctionalGroupsSequence = [item(**(shared or {}))]
    dataset.PerFrameFunctionalGroupsSequence = [item(**group) for group in groups]
    text = read_physics(dataset)["frame_values"]
    return {} if text is None else json.loads(text)


def test_values_that_differ_from_frame_to_frame_are_listed(make):
    found = frames(
        make,
        *(
            {
                "MREchoSequence": [item(EffectiveEchoTime=4.5 * echo)],
                "MRDiffusionSequence": [
                    item(
                        DiffusionBValue=1000.0,
                        DiffusionGradientDirectionSequence=[item(DiffusionGradientOrientation=[0, 0, 1.0])],
                    )
                ],
                "CardiacSynchronizationSequence": [item(NominalPercentageOfCardiacPhase=10.0 * echo)],
            }
            for echo in (1, 2)
        ),
        shared={"MRImageFrameTypeSequence": [item(ComplexImageComponent="PHASE")]},
    )
    assert found == {
        "echo_time": [4.5, 9.0],
        "diffusion_b_value": 1000.0,
        "diffusion_gradient": [0.0, 0.0, 1.0],
        "cardiac_phase": [10.0, 20.0],
        "complex_component": "PHASE",
    }


def test_types_are_terms_and_never_text_of_the_author(make):
    types = [["ORIGINAL", "PRIMARY", "M", "DOE JOHN"], ["ORIGINAL", "PRIMARY", "ADC", "NONE"]]
    found = frames(make, *({"MRImageFrameTypeSequence": [item(FrameType=each)]} for each in types))
    assert found == {"frame_type": ["ORIGINAL\\PRIMARY\\M\\", "ORIGINAL\\PRIMARY\\ADC\\NONE"]}


def test_dimensions_other_than_places(make):
    dataset = make(np.zeros((4, 2, 2), dtype=np.int16))
    dataset.DimensionIndexSequence = [
        item(DimensionIndexPointer=pointer) for pointer in (0x00209056, 0x00209057, 0x00209128)
    ]
    indices = [(1, 1, 1), (1, 2, 1), (1, 1, 2), (1, 2, 2)]
    dataset.PerFrameFunctionalGroupsSequence = [
        item(FrameContentSequence=[item(DimensionIndexValues=list(index))]) for index in indices
    ]
    assert json.loads(read_physics(dataset)["frame_values"]) == {"dimension_3": [1.0, 1.0, 2.0, 2.0]}


def test_times_of_classic_objects(make):
    values = read_physics(make(TriggerTime=35.5, FrameReferenceTime="120000"))["frame_values"]
    assert json.loads(values) == {"trigger_time": 35.5, "frame_reference_time": 120000.0}


def test_several_volumes_are_no_single_one(make, written):
    rows, blobs = [], []
    for echo in (1, 2):
        for z in (0, 2, 4):
            dataset = make(
                np.full((2, 2), echo, dtype=np.int16),
                ImagePositionPatient=[0, 0, z],
                ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
                PixelSpacing=[1, 1],
                EchoTime=4.5 * echo,
            )
            blobs.append(written(dataset))
            rows.append(scan(read_dataset(blobs[-1])) | {"sha256": f"{echo}{z}"})
    with pytest.raises(ItemError, match="2 volumes of 3 slices, by echo_time") as caught:
        assemble(rows, blobs)
    assert caught.value.reason == "geometry_duplicates"
    for echo, stack in enumerate(split(rows), start=1):
        assert stack.label == (("echo_time", f"{4.5 * echo:g}"),)
        volume = assemble(rows, blobs, stack=stack)
        assert np.unique(volume.numpy()).tolist() == [echo]
        assert volume.lineage.inputs == (f"{echo}0", f"{echo}2", f"{echo}4")
        picked = stack.instances
        part = stack.within(picked)
        again = assemble([rows[i] for i in picked], [blobs[i] for i in picked], stack=part)
        np.testing.assert_array_equal(again.numpy(), volume.numpy())
