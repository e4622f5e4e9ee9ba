"""Masks in the lake: from segmentations and structure sets to arrays on the grids of prepared volumes."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from voxlake.core.errors import ItemError, NotFoundError, UsageError
from voxlake.dicom.read import read_dataset
from voxlake.lake.cohorts import Cohort, select
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake
from voxlake.sources.phantoms import Phantoms
from voxlake.store.arrays import value_digest
from voxlake.volumes.masks_read import iter_masks, read_masks
from voxlake.volumes.prepare import prepare
from voxlake.volumes.read import iter_volumes

AS_IT_IS = '[[steps]]\nstep = "reorient"\norientation = "SPL"\n'
TURNED = """
[[steps]]
step = "reorient"
orientation = "RIP"

[[steps]]
step = "crop"
shape = [12, 8, 14]
"""
FINER = '[[steps]]\nstep = "resample"\nspacing = ["keep", 0.5, 0.5]\n'
CLASSES = {"SEG": "1.2.840.10008.5.1.4.1.1.66.4", "RTSTRUCT": "1.2.840.10008.5.1.4.1.1.481.3"}


def item(**elements: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def about(images: list[Dataset], kind: str, uid: str) -> Dataset:
    first = images[0]
    dataset = item(
        SOPClassUID=CLASSES[kind],
        SOPInstanceUID=uid,
        SeriesInstanceUID=f"{uid}.1",
        StudyInstanceUID=first.StudyInstanceUID,
        PatientID=first.PatientID,
        PatientName=first.PatientName,
        Modality=kind,
        FrameOfReferenceUID=first.FrameOfReferenceUID,
    )
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def structure_set(
    images: list[Dataset], boxes: dict[int, tuple[int, int]], uid: str = "1.2.826.1"
) -> Dataset:
    """A region for each box of columns, on the first three slices, rows 2 to 5."""
    dataset = about(images, "RTSTRUCT", uid)
    frame, first = images[0].FrameOfReferenceUID, images[0]
    series = item(SeriesInstanceUID=first.SeriesInstanceUID)
    study = item(ReferencedSOPInstanceUID=first.StudyInstanceUID, RTReferencedSeriesSequence=[series])
    dataset.ReferencedFrameOfReferenceSequence = [
        item(FrameOfReferenceUID=frame, RTReferencedStudySequence=[study])
    ]
    dataset.StructureSetROISequence = [
        item(ROINumber=number, ROIName="Liver", ReferencedFrameOfReferenceUID=frame) for number in boxes
    ]
    dataset.ROIContourSequence = []
    height, width = (float(value) for value in first.PixelSpacing)
    for number, (left, right) in boxes.items():
        contours = []
        for image in images[:3]:
            x, y, z = (float(value) for value in image.ImagePositionPatient)
            corners = [(r, c) for r, c in ((1.5, left), (1.5, right), (5.5, right), (5.5, left))]
            points = [(x + (c - 0.5) * width, y + r * height, z) for r, c in corners]
            values = [f"{value:.6f}" for value in np.ravel(points)]
            contours.append(
                item(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=4, ContourData=values)
            )
        dataset.ROIContourSequence.append(item(ReferencedROINumber=number, ContourSequence=contours))
    return dataset


def segmentation(images: list[Dataset], values: np.ndarray, uid: str = "1.2.826.2") -> Dataset:
    """One segment with a frame for each image."""
    dataset, first = about(images, "SEG", uid), images[0]
    code = item(CodeValue="10200004", CodingSchemeDesignator="SCT", CodeMeaning="Liver")
    for keyword, value in {
        "SegmentationType": "BINARY", "NumberOfFrames": len(images), "Rows": first.Rows,
        "Columns": first.Columns, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
        "PixelRepresentation": 0, "BitsAllocated": 1, "BitsStored": 1, "HighBit": 0,
    }.items():  # fmt: skip
        setattr(dataset, keyword, value)
    dataset.PixelData = np.packbits(values.ravel() > 0, bitorder="little").tobytes()
    dataset["PixelData"].VR = "OB"
    dataset.SegmentSequence = [
        item(SegmentNumber=1, SegmentLabel="Liver", SegmentedPropertyTypeCodeSequence=[code])
    ]
    dataset.ReferencedSeriesSequence = [item(SeriesInstanceUID=first.SeriesInstanceUID)]
    dataset.SharedFunctionalGroupsSequence = [
        item(
            PlaneOrientationSequence=[item(ImageOrientationPatient=first.ImageOrientationPatient)],
            PixelMeasuresSequence=[item(PixelSpacing=first.PixelSpacing)],
        )
    ]
    dataset.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=image.ImagePositionPatient)],
            SegmentIdentificationSequence=[item(ReferencedSegmentNumber=1)],
        )
        for image in images
    ]
    return dataset


def write(dataset: Dataset, path: Path) -> Path:
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    path.write_bytes(stream.getvalue())
    return path


@pytest.fixture
def phantoms() -> Phantoms:
    """One small patient."""
    return Phantoms(patients=1, slices=8, rows=16, columns=16, second_study=0.0)


@pytest.fixture
def images(phantoms: Phantoms) -> list[Dataset]:
    """The slices of one phantom, as they come, sorted along z."""
    datasets = [read_dataset(one.read(10**8)) for one in phantoms]
    return sorted(datasets, key=lambda one: float(one.ImagePositionPatient[2]))


@pytest.fixture
def scans(lake: Lake, phantoms: Phantoms) -> Cohort:
    ingest(lake, phantoms, engine="serial")
    return select(lake, "scans", "modality = 'CT'")


BOX = np.zeros((8, 16, 16), dtype=bool)
BOX[:3, 2:6, 4:9] = True


def test_regions_and_segments_become_masks_of_the_prepared_volumes(
    lake: Lake, scans: Cohort, images: list[Dataset], tmp_path: Path
) -> None:
    random = np.random.default_rng(5).random(BOX.shape) < 0.4
    write(structure_set(images, {3: (4, 9), 5: (6, 11)}), tmp_path / "a.dcm")
    write(segmentation(images, random), tmp_path / "b.dcm")
    ingest(lake, tmp_path / "a.dcm", tmp_path / "b.dcm", engine="serial")
    run = prepare(scans, plan=AS_IT_IS, masks=True, engine="serial")
    assert run.counts == {"seen": 3, "stored": 3}
    assert run.result["masks"] == 3
    rows = lake.sql("select * from masks order by kind desc, number").dicts()
    assert [(row["kind"], row["number"]) for row in rows] == [("RTSTRUCT", 3), ("RTSTRUCT", 5), ("BINARY", 1)]
    assert [row["voxels"] for row in rows] == [[60], [60], [int(random.sum())]]
    assert json.loads(rows[2]["labels"]) == [{"value": 1, "name": "Liver", "code": ["10200004", "SCT"]}]
    expected = {
        row["sha256"]: values
        for row, values in zip(rows, (BOX, np.roll(BOX, 2, axis=2), random), strict=True)
    }
    for volume, mask in iter_masks(scans):
        assert volume.grid == mask.grid
        values = np.asarray(mask.numpy())
        np.testing.assert_array_equal(values, expected.pop(value_digest(values)))
    assert not expected


def test_only_what_is_missing_is_done_also_long_after_the_volumes(
    lake: Lake, scans: Cohort, images: list[Dataset], tmp_path: Path
) -> None:
    assert prepare(scans, plan=AS_IT_IS, masks=True, engine="serial").counts == {"seen": 1, "stored": 1}
    with pytest.raises(NotFoundError, match="--masks"):
        next(iter_masks(scans))
    ingest(lake, write(structure_set(images, {3: (4, 9)}), tmp_path / "a.dcm"), engine="serial")
    assert prepare(scans, plan=AS_IT_IS, engine="serial").counts == {"seen": 1, "already": 1}
    run = prepare(scans, plan=AS_IT_IS, masks=True, engine="processes:1")
    assert run.counts == {"seen": 2, "already": 1, "stored": 1}
    again = prepare(scans, plan=AS_IT_IS, masks=True, engine="serial")
    assert again.counts == {"seen": 2, "already": 2}
    assert len(lake.sql("select * from masks")) == 1


def test_a_mask_follows_the_steps_of_the_plan(
    lake: Lake, scans: Cohort, images: list[Dataset], tmp_path: Path
) -> None:
    random = np.random.default_rng(6).random(BOX.shape) < 0.4
    ingest(lake, write(segmentation(images, random), tmp_path / "b.dcm"), engine="serial")
    for plan in (TURNED, FINER):
        prepare(scans, plan=plan, masks=True, engine="serial")
    ((volume, turned),) = iter_masks(scans, plan=TURNED)
    uid = lake.sql("select sop_instance_uid from instances where modality = 'SEG'").rows()[0][0]
    (source,) = read_masks(lake, uid)
    order, flips = source.grid.reorientation("RIP")
    expected = np.flip(random.transpose(order), flips)[2:14, 0:8, 1:15]
    np.testing.assert_array_equal(turned.numpy(), expected)
    assert turned.lineage.steps[-1].endswith("none resampled")
    assert turned.grid == volume.grid
    ((_, finer),) = iter_masks(scans, plan=FINER)
    assert finer.lineage.steps[-1].endswith("nearest voxel")
    assert finer.grid.shape[0] == 8
    share = np.asarray(finer.numpy()).mean()
    assert share == pytest.approx(random.mean(), abs=0.02)
    with pytest.raises(UsageError, match="2 plans"):
        next(iter_masks(scans))


def test_masks_are_made_on_the_spot_too(
    lake: Lake, scans: Cohort, images: list[Dataset], tmp_path: Path
) -> None:
    write(structure_set(images, {3: (4, 9)}), tmp_path / "a.dcm")
    write(segmentation(images, BOX), tmp_path / "b.dcm")
    ingest(lake, tmp_path / "a.dcm", tmp_path / "b.dcm", engine="serial")
    prepare(scans, plan=AS_IT_IS, engine="serial")
    grids = [volume.grid for volume in iter_volumes(scans)]
    for kind in CLASSES:
        uid, series = lake.sql(
            "select sop_instance_uid, referenced_series_uids from instances where modality = $kind",
            {"kind": kind},
        ).rows()[0]
        assert lake.sql(
            "select modality from series where series_instance_uid = $uid", {"uid": series[0]}
        ).rows() == [("CT",)]
        (mask,) = read_masks(lake, uid)
        np.testing.assert_array_equal(mask.numpy(), BOX)
        assert any(mask.grid.matches(grid) for grid in grids)
        assert read_masks(lake, uid, series_instance_uid=series[0])[0].grid == mask.grid
        with pytest.raises(UsageError, match="not drawn on"):
            read_masks(lake, uid, series_instance_uid="1.2")
    with pytest.raises(NotFoundError, match=r"no object 1\.2\.3"):
        read_masks(lake, "1.2.3")


def test_without_the_image_a_segmentation_has_its_own_grid_and_contours_have_none(
    lake: Lake, images: list[Dataset], tmp_path: Path
) -> None:
    write(structure_set(images, {3: (4, 9)}), tmp_path / "a.dcm")
    write(segmentation(images, BOX), tmp_path / "b.dcm")
    ingest(lake, tmp_path / "a.dcm", tmp_path / "b.dcm", engine="serial")
    uids = dict(lake.sql("select modality, sop_instance_uid from instances").rows())
    np.testing.assert_array_equal(read_masks(lake, uids["SEG"])[0].numpy(), BOX)
    with pytest.raises(ItemError) as refused:
        read_masks(lake, uids["RTSTRUCT"])
    assert refused.value.reason == "unsupported_mask"


def test_what_cannot_become_a_mask_is_a_failed_item_with_its_reason(
    lake: Lake, scans: Cohort, images: list[Dataset], tmp_path: Path
) -> None:
    elsewhere = structure_set(images, {3: (4, 9)}, uid="1.2.826.7")
    elsewhere.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = "1.2.826.99"
    half = structure_set(images, {3: (4, 9), 4: (5, 6)}, uid="1.2.826.8")
    half.ROIContourSequence[1].ContourSequence = []
    for number, dataset in enumerate((elsewhere, half)):
        ingest(lake, write(dataset, tmp_path / f"{number}.dcm"), engine="serial")
    run = prepare(scans, plan=AS_IT_IS, masks=True, engine="serial")
    assert run.counts == {"seen": 3, "stored": 2, "failed": 1}
    assert run.reasons == {"mask_frame": 1}
    details = lake.sql(
        "select detail from items where run_id = $run and detail is not null", {"run": run.run_id}
    )
    assert any("region 4: none of the 0 contours" in detail for (detail,) in details.rows())
    assert lake.sql("select number from masks").rows() == [(3,)]


@pytest.mark.realdata
def test_a_real_structure_set_fits_after_deidentification(
    new_lake: Callable[..., Lake], realdata: Path
) -> None:
    lake = new_lake()
    ingest(lake, realdata / "sts_petctmr/dicom/STS_002/PET", engine="serial")
    cohort = select(lake, "pet", "modality = 'PT'")
    run = prepare(cohort, plan=AS_IT_IS.replace("SPL", "ILA"), masks=True, engine="serial")
    assert run.counts == {"seen": 2, "stored": 2}
    ((volume, mask),) = iter_masks(cohort)
    assert volume.grid.orientation == "ILA"
    image = nibabel.load(realdata / "sts_petctmr/nifti/STS_002/PET_mask.nii.gz")
    # (column, row, slice) runs to L, P, S.
    expected = np.asarray(image.dataobj).transpose(2, 0, 1)[::-1, :, ::-1]
    np.testing.assert_array_equal(mask.numpy(), expected)
    assert mask.numpy().sum() == 555
    named = lake.sql("select labels from masks").rows()[0][0]
    assert "GTV" in named
