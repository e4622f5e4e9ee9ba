"""Structure sets: what is read, and which voxels a region becomes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from voxlake.core.errors import FlatGridError, ItemError, NotFoundError
from voxlake.core.grid import Grid
from voxlake.core.volume import Label
from voxlake.dicom.codes import Code
from voxlake.dicom.mask_objects import masks_of
from voxlake.dicom.references import referenced_series_uids
from voxlake.dicom.rtstruct import StructureSet, read_rtstruct
from voxlake.dicom.rtstruct_masks import rasterise

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
FRAME = "1.2.3.4"
GRID = Grid.from_vectors(
    (4, 6, 8),
    origin=(-10, 20, 30),
    slice_step=(0, 0, 3),
    row_step=(0, 0.5, 0),
    column_step=(2, 0, 0),
    frame=FRAME,
)


def item(**elements: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def outline(place: float, rows: tuple[float, float], columns: tuple[float, float]) -> np.ndarray:
    """A rectangle in a plane of `GRID`, in mm; (4, 3)."""
    corners = [(place, r, c) for r, c in zip((*rows, *rows[::-1]), np.repeat(columns, 2), strict=True)]
    return GRID.index_to_world(corners)


def contour(points: object, kind: str = "CLOSED_PLANAR") -> Dataset:
    values = [f"{value:.6g}" for value in np.ravel(points)]
    return item(ContourGeometricType=kind, NumberOfContourPoints=len(values) // 3, ContourData=values)


def structure_set(regions: dict[int, Sequence[Dataset]], frame: str = FRAME) -> Dataset:
    series = item(SeriesInstanceUID="1.2.3.9")
    study = item(RTReferencedSeriesSequence=[series, item(SeriesInstanceUID="1.2.3.8")])
    dataset = item(
        SOPClassUID=RTSTRUCT,
        SOPInstanceUID="1.2.3.5",
        StructureSetLabel="PLAN",
        ReferencedFrameOfReferenceSequence=[
            item(FrameOfReferenceUID=frame, RTReferencedStudySequence=[study])
        ],
    )
    dataset.StructureSetROISequence = [
        item(ROINumber=number, ROIName=f"region {number}", ReferencedFrameOfReferenceUID=frame)
        for number in regions
    ]
    dataset.ROIContourSequence = [
        item(ReferencedROINumber=number, ROIDisplayColor=[255, 128, 0], ContourSequence=list(contours))
        for number, contours in regions.items()
    ]
    code = item(CodeValue="10200004", CodingSchemeDesignator="SCT", CodeMeaning="Liver")
    dataset.RTROIObservationsSequence = [
        item(
            ObservationNumber=1,
            ReferencedROINumber=min(regions, default=0),
            RTROIInterpretedType="ORGAN",
            RTROIIdentificationCodeSequence=[code],
        )
    ]
    return dataset


def read(*contours: Dataset) -> StructureSet:
    return read_rtstruct(structure_set({7: contours}))


def filled(*contours: Dataset) -> np.ndarray:
    return rasterise(read(*contours), GRID, 7).numpy()


def test_what_a_structure_set_says() -> None:
    found = read_rtstruct(structure_set({7: [contour(outline(1, (1, 3), (2, 5)))], 8: []}))
    assert (found.sop_instance_uid, found.label) == ("1.2.3.5", "PLAN")
    assert found.series_uids == ("1.2.3.8", "1.2.3.9")
    assert list(found.regions) == [7, 8]
    region = found.regions[7]
    assert (region.name, region.colour, region.interpreted_type) == ("region 7", (255, 128, 0), "ORGAN")
    assert (region.code, region.frame) == (Code("10200004", "SCT", "Liver"), FRAME)
    assert region.closed
    assert not found.regions[8].closed
    np.testing.assert_allclose(region.contours[0].points, outline(1, (1, 3), (2, 5)), atol=1e-4)


def test_a_region_becomes_the_voxels_whose_centres_lie_inside() -> None:
    mask = rasterise(read(contour(outline(1, (0.5, 3.5), (1.5, 5.5)))), GRID, 7)
    expected = np.zeros(GRID.shape, dtype=np.uint8)
    expected[1, 1:4, 2:6] = 1
    np.testing.assert_array_equal(mask.numpy(), expected)
    assert mask.grid == GRID
    assert mask.labels == (Label(1, "region 7", ("10200004", "SCT")),)
    assert mask.lineage.steps == ("rasterise contours: even-odd at voxel centres",)


def test_slices_between_contours_stay_empty() -> None:
    box = (0.5, 3.5), (1.5, 5.5)
    counts = filled(contour(outline(0, *box)), contour(outline(3, *box))).sum(axis=(1, 2))
    assert counts.tolist() == [12, 0, 0, 12]


@pytest.mark.parametrize("kind", ["CLOSED_PLANAR", "CLOSEDPLANAR_XOR"])
def test_a_contour_within_another_is_a_hole(kind: str) -> None:
    outer = contour(outline(2, (-0.5, 4.5), (-0.5, 6.5)), kind)
    inner = contour(outline(2, (0.5, 2.5), (1.5, 4.5)), kind)
    values = filled(outer, inner)
    assert values.sum() == 35 - 6
    assert not values[2, 1:3, 2:5].any()


def test_the_same_contour_twice_counts_once_unless_it_is_meant_to_erase() -> None:
    box = outline(2, (0.5, 2.5), (1.5, 4.5))
    twice = rasterise(read(contour(box), contour(box)), GRID, 7)
    assert twice.numpy().sum() == 6
    assert twice.lineage.steps[1] == "slice 2: 1 repeated contours left out"
    assert not filled(contour(box, "CLOSEDPLANAR_XOR"), contour(box, "CLOSEDPLANAR_XOR")).any()


def test_each_slice_takes_the_nearest_plane_of_contours() -> None:
    near, far = outline(1.2, (0.5, 2.5), (1.5, 4.5)), outline(0.7, (0.5, 4.5), (1.5, 4.5))
    mask = rasterise(read(contour(far), contour(near)), GRID, 7)
    assert mask.numpy().sum(axis=(1, 2)).tolist() == [0, 6, 0, 0]
    assert mask.lineage.steps[1] == "1 contours between the slices left out"


def test_a_contour_between_two_slices_belongs_to_the_later_one() -> None:
    box = (0.5, 2.5), (1.5, 4.5)
    assert filled(contour(outline(1.5, *box))).sum(axis=(1, 2)).tolist() == [0, 0, 6, 0]
    assert filled(contour(outline(1.49, *box))).sum(axis=(1, 2)).tolist() == [0, 6, 0, 0]


def test_contours_beyond_the_slices_are_left_out_and_counted() -> None:
    box = (0.5, 2.5), (1.5, 4.5)
    mask = rasterise(read(*(contour(outline(place, *box)) for place in (-1, 0, 4, 9))), GRID, 7)
    assert mask.numpy().sum(axis=(1, 2)).tolist() == [6, 0, 0, 0]
    assert mask.lineage.steps[1] == "contours of 3 planes beyond the slices left out"


def test_points_and_open_contours_enclose_nothing() -> None:
    box = outline(2, (0.5, 2.5), (1.5, 4.5))
    kinds = ("POINT", "OPEN_PLANAR", "OPEN_NONPLANAR")
    with pytest.raises(ItemError, match="none of the 3 contours") as refused:
        filled(*(contour(box, kind) for kind in kinds))
    assert refused.value.reason == "mask_empty"
    assert filled(contour(box), contour(box, "POINT")).sum() == 6


def test_any_grid_with_parallel_slices_will_do() -> None:
    flipped = GRID.flip(0).flip(1).transpose((0, 2, 1))
    structures = read(
        contour(outline(1, (0.5, 3.5), (1.5, 5.5))), contour(outline(2, (0.5, 2.5), (1.5, 2.5)))
    )
    turned = rasterise(structures, flipped, 7).numpy()
    straight = rasterise(structures, GRID, 7).numpy()
    np.testing.assert_array_equal(turned, straight[::-1, ::-1].transpose(0, 2, 1))


def test_slices_that_are_sheared_or_oblique_are_filled_in_their_own_plane() -> None:
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, 0.6, -0.8], [0, 0.8, 0.6]]
    )
    oblique = Grid.from_vectors(
        (4, 6, 8),
        origin=(-10, 20, 30),
        slice_step=turn @ (0.3, 0.2, 3),
        row_step=turn @ (0, 0.5, 0),
        column_step=turn @ (2, 0, 0),
    )
    corners = [(2, 0.5, 1.5), (2, 3.5, 1.5), (2, 3.5, 5.5), (2, 0.5, 5.5)]
    mask = rasterise(read(contour(oblique.index_to_world(corners))), oblique, 7).numpy()
    assert mask.sum() == 12
    assert mask[2, 1:4, 2:6].all()


def test_contours_that_run_through_the_slices_are_refused() -> None:
    steep = GRID.index_to_world([(0, 1, 1), (1, 1, 5), (1, 4, 5), (0, 4, 1)])
    with pytest.raises(ItemError, match="runs through 1 slices") as refused:
        filled(contour(steep))
    assert refused.value.reason == "mask_plane"


def test_another_frame_of_reference_a_flat_image_and_an_unknown_region_are_refused() -> None:
    box = contour(outline(2, (0.5, 2.5), (1.5, 4.5)))
    elsewhere = read_rtstruct(structure_set({7: [box]}, frame="1.2.3.99"))
    with pytest.raises(ItemError) as refused:
        rasterise(elsewhere, GRID, 7)
    assert refused.value.reason == "mask_frame"
    with pytest.raises(FlatGridError):
        rasterise(read(box), Grid.flat_image((6, 8)), 7)
    with pytest.raises(NotFoundError, match="no region 3; it has 7"):
        rasterise(read(box), GRID, 3)


@pytest.mark.parametrize("values", [rb"1\2", rb"1\2\inf", rb"1\2\nan", rb"1\2\three", rb"1\2\x"])
def test_points_that_are_no_triples_of_numbers_are_refused(values: bytes) -> None:
    broken = item(ContourGeometricType="CLOSED_PLANAR")
    tag = Tag("ContourData")
    broken[tag] = RawDataElement(tag, "DS", len(values), values, 0, False, True)
    with pytest.raises(ItemError) as refused:
        read(broken)
    assert refused.value.reason == "parse_error"


def test_two_regions_of_one_number_and_other_objects_are_refused() -> None:
    dataset = structure_set({7: []})
    dataset.StructureSetROISequence.append(item(ROINumber=7))
    with pytest.raises(ItemError, match="Number of its own"):
        read_rtstruct(dataset)
    with pytest.raises(ItemError) as refused:
        read_rtstruct(item(SOPClassUID="1.2.840.10008.5.1.4.1.1.2"))
    assert refused.value.reason == "unsupported_mask"


def test_regions_that_do_not_fit_do_not_cost_the_others() -> None:
    box = contour(outline(2, (0.5, 2.5), (1.5, 4.5)))
    steep = contour(GRID.index_to_world([(0, 1, 1), (3, 1, 5), (3, 4, 5)]))
    found = masks_of(read_rtstruct(structure_set({3: [], 4: [steep], 5: [box]})), GRID)
    assert found.kind == "RTSTRUCT"
    assert found.numbers == (5,)
    assert found.masks[0].numpy().sum() == 6
    assert [sentence[:9] for sentence in found.left_out] == ["region 3:", "region 4:"]
    for regions, reason in (({3: []}, "mask_empty"), ({3: [], 4: [steep]}, "mask_plane"), ({}, "mask_empty")):
        with pytest.raises(ItemError) as refused:
            masks_of(read_rtstruct(structure_set(regions)), GRID)
        assert refused.value.reason == reason
    with pytest.raises(ItemError) as refused:
        masks_of(read_rtstruct(structure_set({5: [box]})), None)
    assert refused.value.reason == "unsupported_mask"


def test_which_series_an_object_was_drawn_on() -> None:
    assert referenced_series_uids(structure_set({})) == ["1.2.3.8", "1.2.3.9"]
    assert referenced_series_uids(item(SOPClassUID=RTSTRUCT)) is None
    series = [item(SeriesInstanceUID="1.2.3.9")]
    segmentation = item(SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", ReferencedSeriesSequence=series)
    assert referenced_series_uids(segmentation) == ["1.2.3.9"]
    assert referenced_series_uids(item(SOPClassUID="1.2.840.10008.5.1.4.1.1.2")) is None
