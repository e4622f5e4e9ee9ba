"""Segmentations: segments, places of frames, and the voxels that they become."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid
from voxlake.core.volume import Label
from voxlake.dicom.codes import Code
from voxlake.dicom.masks import EXACT, NEAREST
from voxlake.dicom.seg import Segmentation, read_seg
from voxlake.dicom.seg_masks import segment_fractions, segment_masks

FRAME = "1.2.3.4"
GRID = Grid.from_vectors(
    (5, 4, 6),
    origin=(-10, 20, 30),
    slice_step=(0, 0, 3),
    row_step=(0, 0.5, 0),
    column_step=(2, 0, 0),
    frame=FRAME,
)
RANDOM = np.random.default_rng(7)
A, B = RANDOM.random((2, 5, 4, 6)) < 0.5
DISJOINT = B & ~A


def item(**elements: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def code(value: str, meaning: str) -> Dataset:
    return item(CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning=meaning)


def segment(number: int) -> Dataset:
    kind = code("10200004", "Liver")
    kind.SegmentedPropertyTypeModifierCodeSequence = [code("7771000", "Left")]
    return item(
        SegmentNumber=number,
        SegmentLabel=f"segment {number}",
        SegmentAlgorithmType="AUTOMATIC",
        SegmentAlgorithmName="net",
        SegmentedPropertyCategoryCodeSequence=[code("123037004", "Anatomical Structure")],
        SegmentedPropertyTypeCodeSequence=[kind],
    )


def frame(position: Sequence[float] | None, number: int | None) -> Dataset:
    described = Dataset()
    if position is not None:
        described.PlanePositionSequence = [item(ImagePositionPatient=[float(v) for v in position])]
    if number is not None:
        described.SegmentIdentificationSequence = [item(ReferencedSegmentNumber=number)]
    return described


def seg(
    frames: Sequence[tuple[int | None, Sequence[float] | None, np.ndarray]],
    *,
    kind: str = "BINARY",
    numbers: Sequence[int] = (1, 2),
    grid: Grid = GRID,
    spacing: float | None = None,
    **elements: object,
) -> Dataset:
    """A segmentation of (segment, position, values) with the in-plane lattice of a grid."""
    values = np.stack([values for _, _, values in frames])
    dataset = item(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.66." + ("7" if kind == "LABELMAP" else "4"),
        SOPInstanceUID="1.2.3.5",
        FrameOfReferenceUID=FRAME,
        SegmentationType=kind,
        NumberOfFrames=len(frames),
        Rows=values.shape[1],
        Columns=values.shape[2],
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        PixelRepresentation=0,
        BitsAllocated=1 if kind == "BINARY" else 8,
        BitsStored=1 if kind == "BINARY" else 8,
        HighBit=0 if kind == "BINARY" else 7,
    )
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    packed = (
        np.packbits(values.ravel() > 0, bitorder="little") if kind == "BINARY" else values.astype(np.uint8)
    )
    raw = packed.tobytes()
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)
    dataset["PixelData"].VR = "OB"
    dataset.SegmentSequence = [segment(number) for number in numbers]
    dataset.ReferencedSeriesSequence = [
        item(
            SeriesInstanceUID="1.2.3.9",
            ReferencedInstanceSequence=[item(ReferencedSOPInstanceUID="1.2.3.91")],
        )
    ]
    dataset.PerFrameFunctionalGroupsSequence = [frame(position, number) for number, position, _ in frames]
    if frames[0][1] is not None:
        cosines = [float(v) for v in (*grid.direction[:, 2], *grid.direction[:, 1])]
        measures = item(PixelSpacing=[grid.spacing[1], grid.spacing[2]], SliceThickness=3.0)
        if spacing is not None:
            measures.SpacingBetweenSlices = spacing
        dataset.SharedFunctionalGroupsSequence = [
            item(
                PlaneOrientationSequence=[item(ImageOrientationPatient=cosines)],
                PixelMeasuresSequence=[measures],
            )
        ]
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def frames_of(number: int | None, values: np.ndarray, grid: Grid = GRID) -> list[tuple]:
    """One frame for every slice that is not empty."""
    places = grid.index_to_world([(n, 0, 0) for n in range(grid.shape[0])])
    return [(number, places[n], values[n]) for n in range(grid.shape[0]) if values[n].any()]


def binary(*segments: np.ndarray, **options: object) -> Segmentation:
    frames = [one for number, values in enumerate(segments, 1) for one in frames_of(number, values)]
    return read_seg(seg(frames, **options))


def test_what_a_segmentation_says() -> None:
    found = binary(A, DISJOINT)
    assert (found.sop_instance_uid, found.kind, found.frame_of_reference) == ("1.2.3.5", "BINARY", FRAME)
    assert found.series_uids == ("1.2.3.9",)
    assert found.image_uids == {"1.2.3.91"}
    one = found.segments[1]
    assert (one.number, one.label, one.algorithm_type, one.algorithm_name) == (
        1,
        "segment 1",
        "AUTOMATIC",
        "net",
    )
    assert one.type == Code("10200004", "SCT", "Liver")
    assert one.category == Code("123037004", "SCT", "Anatomical Structure")
    assert one.modifiers == (Code("7771000", "SCT", "Left"),)
    assert found.grid is not None
    assert found.grid.matches(GRID)


def test_segments_that_share_no_voxel_become_one_mask() -> None:
    (mask,) = segment_masks(binary(A, DISJOINT), GRID)
    np.testing.assert_array_equal(mask.numpy(), A + 2 * DISJOINT)
    assert mask.numpy().dtype == np.uint8
    assert mask.labels[1] == Label(2, "segment 2", ("10200004", "SCT"))
    assert mask.lineage.steps == ("BINARY segmentation",)
    (own,) = segment_masks(binary(A, DISJOINT))
    np.testing.assert_array_equal(own.numpy(), mask.numpy())


def test_segments_that_share_voxels_become_a_mask_each() -> None:
    masks = segment_masks(binary(A, B), GRID)
    assert [[label.value for label in mask.labels] for mask in masks] == [[1], [2]]
    np.testing.assert_array_equal(masks[0].numpy(), A)
    np.testing.assert_array_equal(masks[1].numpy(), 2 * B)


def test_frames_that_are_missing_are_empty() -> None:
    sparse = A.copy()
    sparse[[0, 2, 3]] = False
    found = binary(sparse, numbers=[1])
    (mask,) = segment_masks(found, GRID)
    np.testing.assert_array_equal(mask.numpy(), sparse)
    # Of two frames 9 mm apart alone nobody can tell that there are slices between them.
    assert found.grid is not None
    assert (found.grid.shape, found.grid.spacing[0]) == ((2, 4, 6), 9.0)
    (own,) = segment_masks(binary(sparse, numbers=[1], spacing=3.0))
    np.testing.assert_array_equal(own.numpy(), sparse[1:])


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1)])
@pytest.mark.parametrize("flips", [(), (0,), (1,), (2,), (0, 1, 2)])
def test_flips_and_turns_move_voxels_and_change_none(order: tuple[int, ...], flips: tuple[int, ...]) -> None:
    grid, expected = GRID.transpose(order), A.transpose(order)
    for axis in flips:
        grid, expected = grid.flip(axis), np.flip(expected, axis)
    (mask,) = segment_masks(binary(A, numbers=[1]), grid)
    np.testing.assert_array_equal(mask.numpy(), expected)
    assert mask.lineage.steps == ("BINARY segmentation",)


def test_an_image_that_is_cropped_or_larger() -> None:
    (cropped,) = segment_masks(binary(A, numbers=[1]), GRID.crop((1, 1, 2), (4, 3, 6)))
    np.testing.assert_array_equal(cropped.numpy(), A[1:4, 1:3, 2:6])
    assert cropped.lineage.steps[1] == "2 frames beyond the slices left out"
    before, after = (1, 2, 3), (2, 1, 0)
    (larger,) = segment_masks(binary(A, numbers=[1]), GRID.pad(before, after))
    np.testing.assert_array_equal(larger.numpy(), np.pad(A, list(zip(before, after, strict=True))))


def test_slices_of_another_axis_are_moved_by_way_of_the_own_grid() -> None:
    (mask,) = segment_masks(binary(A, numbers=[1]), GRID.transpose((2, 0, 1)))
    np.testing.assert_array_equal(mask.numpy(), A.transpose(2, 0, 1))
    assert mask.lineage.steps[1] == EXACT


def test_another_lattice_takes_the_nearest_voxel() -> None:
    (mask,) = segment_masks(binary(A, numbers=[1]), GRID.resampled((1.0, 0.5, 2.0)))
    np.testing.assert_array_equal(mask.numpy(), np.repeat(A, 3, axis=0))
    assert mask.lineage.steps[1] == NEAREST


def test_positions_in_rounded_decimals_are_the_same_voxels() -> None:
    frames = [(n, np.round(place + 0.004, 2), values) for n, place, values in frames_of(1, A)]
    (mask,) = segment_masks(read_seg(seg(frames, numbers=[1])), GRID)
    np.testing.assert_array_equal(mask.numpy(), A)


def test_fractions_and_the_threshold() -> None:
    shares = RANDOM.integers(0, 101, GRID.shape).astype(np.uint8)
    options = {"kind": "FRACTIONAL", "MaximumFractionalValue": 100, "SegmentationFractionalType": "OCCUPANCY"}
    found = read_seg(seg(frames_of(1, shares), numbers=[1], **options))
    assert (found.fractional_type, found.maximum) == ("OCCUPANCY", 100)
    ((one, volume),) = segment_fractions(found, GRID)
    assert (one.number, volume.unit, volume.dtype) == (1, "fraction", np.float32)
    np.testing.assert_allclose(volume.numpy(), shares / 100, rtol=1e-6)
    assert volume.lineage.steps[0] == "segment 1: OCCUPANCY"
    for threshold, count in ((0.5, (shares > 50).sum()), (0.2, (shares > 20).sum())):
        (mask,) = segment_masks(found, GRID, threshold=threshold)
        assert mask.numpy().sum() == count
    with pytest.raises(ItemError, match="MaximumFractionalValue"):
        read_seg(seg(frames_of(1, shares), kind="FRACTIONAL", numbers=[1]))


def test_a_label_map_with_background_padding_and_palette() -> None:
    labels = RANDOM.integers(0, 4, GRID.shape).astype(np.uint8)
    for photometric in ("MONOCHROME2", "PALETTE COLOR"):
        found = read_seg(
            seg(
                frames_of(None, labels),
                kind="LABELMAP",
                numbers=[0, 1, 2],
                PixelPaddingValue=3,
                PhotometricInterpretation=photometric,
            )
        )
        (mask,) = segment_masks(found, GRID)
        np.testing.assert_array_equal(mask.numpy(), np.where(labels == 3, 0, labels))
        assert [label.value for label in mask.labels] == [1, 2]
    with pytest.raises(ItemError) as refused:
        segment_fractions(found)
    assert refused.value.reason == "unsupported_mask"


def test_an_image_without_a_place() -> None:
    found = read_seg(seg([(1, None, A[0]), (2, None, DISJOINT[0])]))
    assert found.grid == Grid.flat_image((4, 6))
    (mask,) = segment_masks(found, Grid.flat_image((4, 6)))
    np.testing.assert_array_equal(mask.numpy()[0], A[0] + 2 * DISJOINT[0])
    for grid, reason in ((GRID, "mask_frame"), (Grid.flat_image((6, 4)), "unsupported_mask")):
        with pytest.raises(ItemError) as refused:
            segment_masks(found, grid)
        assert refused.value.reason == reason
    with pytest.raises(ItemError, match="no place"):
        read_seg(seg([(1, None, A[0]), (1, None, A[1])]))


def test_what_is_refused() -> None:
    place = GRID.origin
    with pytest.raises(ItemError) as refused:
        segment_masks(read_seg(seg([(1, place, A[0]), (1, place, A[1])])), GRID)
    assert refused.value.reason == "geometry_duplicates"
    elsewhere = Grid(GRID.shape, GRID.matrix, "1.2.3.99")
    with pytest.raises(ItemError) as refused:
        segment_masks(binary(A, DISJOINT), elsewhere)
    assert refused.value.reason == "mask_frame"
    uneven = [(1, np.add(place, (0, 0, z)), A[0]) for z in (0, 3, 7.1)]
    found = read_seg(seg(uneven))
    assert found.grid is None
    with pytest.raises(ItemError, match="give the grid") as refused:
        segment_masks(found)
    assert refused.value.reason == "unsupported_mask"
    for broken, message in (
        (seg([(3, place, A[0])]), "does not describe"),
        (seg([(None, place, A[0])]), "which segment"),
        (seg([(1, place, A[0])], numbers=[1, 1]), "number of its own"),
        (seg([(1, place, A[0])], SegmentationType="GREY"), "must be BINARY"),
        (seg([(1, place, A[0])], TotalPixelMatrixColumns=6), "slide microscopy"),
        (seg([(1, place, A[0])], PerFrameFunctionalGroupsSequence=[]), "0 of 1 frames"),
        (item(SOPClassUID="1.2.840.10008.5.1.4.1.1.2"), "no segmentation"),
    ):
        with pytest.raises(ItemError, match=message):
            read_seg(broken)
