"""Contact sheets: planes in true proportions, masks over them, sheets of runs and of cohorts."""

from __future__ import annotations

import base64
import io
import re
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from voxlake.core.grid import Grid
from voxlake.core.mask_plan import MaskPlan
from voxlake.core.mask_step import MaskStep
from voxlake.core.volume import Label, Mask, Volume
from voxlake.evaluation.content import ContactSheet, ReportData, SheetPicture
from voxlake.evaluation.overlay import colour_of, overlaid, sheet_picture
from voxlake.evaluation.page import render_report
from voxlake.evaluation.planes import planes_through, shown_at
from voxlake.evaluation.report import report
from voxlake.lake.cohorts import select
from voxlake.lake.lake import Lake
from voxlake.volumes.prepare import prepare
from voxlake.volumes.segment import segment

RED, BLUE = (255, 0, 0), (0, 0, 255)
PLAN = '[[steps]]\nstep = "reorient"\norientation = "SPL"\n'


class Bright(MaskStep):
    """Two labels: from 0 and from 500 HU."""

    name = "bright_for_the_test"

    def __call__(self, volume: Volume) -> Mask:
        values = volume.numpy()
        labels = (Label(1, "Soft tissue"), Label(2, "Dense"))
        return Mask((values > 0).astype(np.uint8) + (values > 500), volume.grid, labels, volume.lineage)


def pictures(html: str) -> list[NDArray[np.uint8]]:
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one))).convert("RGB")) for one in found]


def marked(orientation: str) -> tuple[Volume, NDArray[np.uint8]]:
    """A volume of 6 x 8 x 10 voxels at 3, 2 and 1 mm in SPL with a bright voxel high, front and right."""
    values = np.zeros((6, 8, 10), dtype=np.float32)
    values[5, 0, 0] = 100
    labels = (values > 0).astype(np.uint8)
    grid = Grid.from_spacing(values.shape, (3.0, 2.0, 1.0))
    order, flips = grid.reorientation(orientation)
    turned = [np.flip(np.transpose(each, order), flips) for each in (values, labels)]
    return Volume(turned[0], grid.reoriented(orientation)), turned[1]


@pytest.mark.parametrize("orientation", ["SPL", "LIA", "RAS", "PIR", "AIL"])
def test_planes_do_not_depend_on_the_order_in_memory(orientation: str) -> None:
    volume, labels = marked(orientation)
    axial, coronal, sagittal = planes_through(volume, labels)
    assert [plane.values.shape for plane in (axial, coronal, sagittal)] == [(8, 10), (6, 10), (6, 8)]
    assert [plane.spacing for plane in (axial, coronal, sagittal)] == [(2, 1), (3, 1), (3, 2)]
    # Front is up and the right of the patient at the left; the head is up.
    for plane in (axial, coronal, sagittal):
        assert plane.values[0, 0] == 100
        assert plane.labels is not None
        assert plane.values.sum() == 100
        np.testing.assert_array_equal(plane.labels, plane.values > 0)


def test_without_a_mask_the_middle_is_shown() -> None:
    values = np.zeros((5, 7, 9), dtype=np.int16)
    values[2, :, :] = 1
    values[:, 3, :] += 2
    values[:, :, 4] += 4
    axial, coronal, sagittal = planes_through(Volume(values, Grid.from_spacing(values.shape, (1, 1, 1))))
    assert (axial.values & 1).all()
    assert (coronal.values & 2).all()
    assert (sagittal.values & 4).all()


def test_pixels_are_square_and_keep_the_mean() -> None:
    volume, _ = marked("SPL")
    axial = planes_through(volume)[1]
    shown = shown_at(axial, 2.0)
    assert shown.values.shape == (36, 20)
    assert shown.values.mean() == pytest.approx(axial.values.mean())
    assert shown_at(axial, 0.5).values.shape == (9, 5)
    assert shown_at(axial, 0.5).values.mean() == pytest.approx(axial.values.mean())


def test_a_mask_is_translucent_inside_and_outlined() -> None:
    image = np.full((9, 9, 3), 100, dtype=np.uint8)
    labels = np.zeros((9, 9), dtype=np.uint8)
    labels[2:7, 2:7] = 1
    labels[2:7, 5:7] = 2
    shown = overlaid(image, labels, {1: RED, 2: BLUE})
    assert shown[0, 0].tolist() == [100, 100, 100]
    assert shown[4, 3].tolist() == [round(100 + 155 * 0.38), 62, 62]
    for row, column, colour in ((2, 2, RED), (4, 4, RED), (4, 5, BLUE), (6, 6, BLUE)):
        assert shown[row, column].tolist() == [round(100 + (one - 100) * 0.95) for one in colour]
    assert image.max() == 100
    # A label that has no colour leaves the image as it is.
    np.testing.assert_array_equal(overlaid(image, labels, {}), image)


def test_three_planes_side_by_side_and_a_flat_image_alone() -> None:
    volume, labels = marked("LIA")
    shown = sheet_picture(volume, labels, {1: RED})
    assert shown.shape[2] == 3
    assert max(shown.shape) < 3 * 176 + 8
    red = (shown[..., 0] > 200) & (shown[..., 1] < 60)
    columns = np.flatnonzero(red.any(axis=0))
    assert 1 + np.count_nonzero(np.diff(columns) > 1) == 3
    flat = Volume(np.arange(20, dtype=np.uint8).reshape(1, 4, 5), Grid.flat_image((4, 5)))
    alone = sheet_picture(flat, (np.arange(20).reshape(1, 4, 5) == 7).astype(np.uint8), {1: BLUE})
    assert alone.shape == (4, 5, 3)
    assert alone[1, 2, 2] > 240 > alone[1, 2, 0]
    assert alone[0, 0].tolist() == [0, 0, 0]
    assert alone[3, 4].tolist() == [255, 255, 255]


def test_colour_and_oddities_are_shown() -> None:
    colour = Volume(np.full((1, 600, 300, 3), (10, 20, 30), dtype=np.uint8), Grid.flat_image((600, 300)))
    shown = sheet_picture(colour, None, {})
    assert shown.shape == (256, 128, 3)
    assert np.unique(shown.reshape(-1, 3), axis=0).tolist() == [[10, 20, 30]]
    grid = Grid.from_spacing((2, 3, 4), (1, 1, 1))
    for values in (np.zeros((2, 3, 4)), np.full((2, 3, 4), np.nan), np.full((2, 3, 4), 7)):
        assert sheet_picture(Volume(values, grid), None, {}).max() == 0


def test_colours_can_be_told_apart() -> None:
    colours = [colour_of(number) for number in range(104)]
    assert len(set(colours)) == 104
    nearest = min(
        sum(abs(a - b) for a, b in zip(one, other, strict=True))
        for one, other in combinations(colours[:20], 2)
    )
    assert nearest > 30


def test_a_page_has_legend_and_pictures_and_no_other_place_is_asked() -> None:
    picture = np.zeros((4, 6, 3), dtype=np.uint8)
    picture[1, 2] = RED
    sheet = ContactSheet(
        "Masks <of> a plan",
        (SheetPicture(picture, "abc", "CT & more", (("Lung", "4 ml"),)),),
        (("Lung", RED),),
        "1 of 9 are shown.",
    )
    html = render_report(
        ReportData(title="t", task="t", summary="s", created="c", sheets=(sheet,), kind="Report about a run")
    )
    assert "Masks &lt;of&gt; a plan" in html
    assert 'fill="rgb(255,0,0)"' in html
    assert "1 of 9 are shown." in html
    assert "Report about a run" in html
    np.testing.assert_array_equal(pictures(html)[0], picture)
    assert "http" not in html.replace("http://www.w3.org", "")


def test_runs_and_cohorts_show_what_was_made(filled_lake: Lake) -> None:
    cohort = select(filled_lake, "all")
    prepared = prepare(cohort, plan=PLAN, engine="serial")
    page = report(filled_lake, prepared.run_id)
    html = filled_lake.objects.get(f"reports/{page.run_id}/report.html").decode()
    assert "Prepared volumes" in html
    assert "4 of 4 are shown." in html
    assert len(pictures(html)) == 4
    plan = MaskPlan(Bright())
    made = segment(cohort, plan=plan, volumes=PLAN, engine="serial")
    assert made.counts == {"seen": 4, "stored": 4}
    html = filled_lake.objects.get(f"reports/{report(filled_lake, made.run_id).run_id}/report.html").decode()
    assert f"Masks of the mask plan {plan.digest()[:12]}" in html
    assert "Soft tissue" in html
    shown = pictures(html)
    assert len(shown) == 4
    orange = np.asarray(colour_of(0))
    for one in shown:
        assert (np.abs(one.astype(int) - orange).sum(axis=2) < 30).any()
    about = report(filled_lake, "all")
    html = filled_lake.objects.get(f"reports/{about.run_id}/report.html").decode()
    assert "Cohort all" in html
    assert len(pictures(html)) == 4
    assert about.arguments["cohort"] == "all@1"
    # Erasing a patient finds pages by the cohort that they show.
    rows = filled_lake.sql("select arguments from runs where verb = 'report' order by started_at").rows()
    assert all('"cohort": "all@1"' in row[0] for row in rows)


def test_masks_of_series_that_were_not_prepared_have_their_image(filled_lake: Lake) -> None:
    made = segment(select(filled_lake, "all"), plan=MaskPlan(Bright()), engine="serial")
    html = filled_lake.objects.get(f"reports/{report(filled_lake, made.run_id).run_id}/report.html").decode()
    assert "4 of 4 are shown." in html
    shown = pictures(html)
    assert len(shown) == 4
    assert all(one.max() > 200 for one in shown)
