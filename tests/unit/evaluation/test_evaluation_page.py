"""The page: whole, self-contained, honest about what is not defined, the same for the same data."""

from __future__ import annotations

import base64
import dataclasses
import io
import itertools
import math
import re
import struct
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest

from voxlake.core.errors import UsageError
from voxlake.evaluation.content import (
    Example,
    Exclusion,
    Flow,
    FlowPart,
    FlowStep,
    Ingest,
    OperatingPoint,
    Question,
    ReportData,
    Table,
    TextBlock,
    TrainingCurve,
)
from voxlake.evaluation.flow import flow_svg
from voxlake.evaluation.page import render_report
from voxlake.evaluation.pictures import png, png_uri
from voxlake.evaluation.wording import metric_words, show_cell, show_interval, show_value
from voxlake.metrics.curves import calibration_curve, precision_recall_curve, roc_curve
from voxlake.metrics.estimate import Estimate

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("figures")

HOSTILE = '<script>alert("x")</script>&$y_1$\'"'
VOID = {"meta", "img", "br", "hr", "input", "link"}


def estimate(name: str, value: float, low: float = math.nan, high: float = math.nan) -> Estimate:
    return Estimate(name, value, low, high, 0.95, "percentile bootstrap over groups", 120, 60)


@pytest.fixture(scope="module")
def data() -> ReportData:
    generator = np.random.default_rng(0)
    truth = np.arange(120) % 2
    probability = np.clip(0.3 + 0.4 * truth + generator.normal(0, 0.2, 120), 0, 1)
    picture = (np.arange(48).reshape(6, 8) * 5).astype(np.uint8)
    return ReportData(
        title="Nodules on CT",
        task="Find nodules.",
        summary="It finds most of them.",
        created="22 November 2026",
        synthetic="Computed, not measured.",
        unit="volumes",
        estimates=(
            estimate("roc_auc", 0.9312, 0.88, 0.97),
            estimate("recall", 0.875, 0.80, 0.93),
            estimate("precision", math.nan),
            estimate("matthews_corrcoef", -0.25, -0.4, 0.1),
            estimate("house_index", 1.5, 1.2, 1.9),
        ),
        operating_point=OperatingPoint(0.42, 0.875, 0.1, 0.9),
        classes=("clear", "nodule"),
        confusion=np.array([[54, 6], [0, 60]]),
        roc={"model": roc_curve(truth, probability)},
        precision_recall={"model": precision_recall_curve(truth, probability)},
        calibration={"model": calibration_curve(truth, probability, bins=5)},
        prevalence=0.5,
        folds=Table("Per fold.", ("Fold", "AUC"), (("fold 1", 0.91), ("fold 2", math.nan)), "A note."),
        training=(TrainingCurve("fold 1", (0.7, 0.5, 0.4), (0.7, 0.6, 0.65), 2),),
        flow=Flow(
            (
                FlowStep(
                    "Files found", 130, None, (Exclusion("truncated", 3), Exclusion("no label", 7)), "files"
                ),
                FlowStep("Volumes prepared", 1120, 60),
            ),
            (FlowPart("Training", 1000, 40), FlowPart("Test", 120, 20)),
            "volumes",
        ),
        cohort=(Table("Patients.", ("Part", "Patients", "Age"), (("test", 60, None),)),),
        mistakes=(Example(picture, "vol-1", "nodule", "clear", 0.03, "nodule"),),
        correct=(Example(np.dstack([picture] * 3), "vol-2", "clear", "clear", 0.01, "nodule"),),
        limitations=("One scanner only.",),
        ingest=Ingest(
            "10 seen = 9 stored + 1 quarantined",
            (Table("Why.", ("Reason", "Files"), (("truncated", 1),)),),
            (Question("How many?", "select count(*) from series", Table("Answer", ("count",), ((3,),))),),
            (Example(picture, "vol-3", note="CT, HU"),),
        ),
        settings=(TextBlock("Task", 'name = "nodules"\n'),),
        lineage=(Table("Identifiers", ("What", "Value"), (("model", "ab" * 32),)),),
    )


@pytest.fixture(scope="module")
def html(data: ReportData) -> str:
    return render_report(data)


class Outline(HTMLParser):
    """Checks that tags are balanced and collects what tests ask about."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> in the wrong place"

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def outline(html: str) -> Outline:
    parser = Outline()
    parser.feed(html)
    parser.close()
    assert not parser.open
    return parser


def words(html: str) -> str:
    return re.sub(r"\s+", " ", " ".join(outline(html).text))


def test_tags_are_balanced_and_headings_in_order(html: str) -> None:
    found = outline(html)
    assert html.startswith("<!DOCTYPE html>")
    assert found.all("html")[0]["lang"] == "en"
    assert len(found.all("h1")) == 1
    levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert len(found.all("h2")) == 10


def test_ids_are_unique_and_every_reference_is_there(html: str) -> None:
    found = outline(html)
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [each["href"] for each in found.all("a") + found.all("use")]
    clips = re.findall(r"url\((#[^)]*)\)", html)
    named = [name for each in found.all("section") for name in (each.get("aria-labelledby") or "").split()]
    assert len(links) > 10
    assert {link[1:] for link in [*links, *clips]} | set(named) <= set(ids)


def test_the_page_asks_nothing_of_the_network(html: str) -> None:
    found = outline(html)
    for _, attributes in found.tags:
        for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:image/png;base64,"))
    assert "http:" not in html
    assert "https:" not in html
    assert "@import" not in html
    assert not {"script", "link", "iframe", "object", "embed"} & {tag for tag, _ in found.tags}


def test_every_figure_and_picture_is_there_and_has_words(html: str) -> None:
    found = outline(html)
    plots = [each for each in found.all("svg") if each.get("class") == "plot"]
    assert len(plots) == 4
    assert all(each["role"] == "img" and each["aria-label"] for each in plots)
    assert sum(each.get("class") == "flow" for each in found.all("svg")) == 1
    pictures = found.all("img")
    assert len(pictures) == 3
    assert pictures[0]["alt"] == "Image vol-1: truth nodule, model clear"
    assert all(each["src"].startswith("data:image/png;base64,") for each in pictures)
    assert len(found.all("caption")) == len(found.all("table")) == 7


def test_figures_with_intervals_are_written_out(html: str) -> None:
    text = words(html)
    assert "Area under the ROC curve How often a positive case gets a higher probability" in text
    assert "0.931 0.880 to 0.970" in text
    assert "87.5% 80.0% to 93.0%" in text
    assert "\N{MINUS SIGN}0.250 \N{MINUS SIGN}0.400 to 0.100" in text
    assert "house index 1.500" in text
    assert "Tested on 120 volumes of 60 patients." in text
    assert "a probability of 0.420, chosen on validation data" in text
    assert "Synthetic images. Computed, not measured." in text


def test_what_is_not_defined_says_so(html: str) -> None:
    text = words(html)
    assert "nan" not in text.lower().split()
    assert "right; it depends on how common the positive class is. not defined not defined" in text
    assert "fold 2 not defined" in text
    assert "test 60 not known" in text


def test_bars_lie_where_the_numbers_are(html: str) -> None:
    # From 0.5 to 1 over 96 percent of the width, with 2 percent left free on both sides.
    assert 'class="span" x1="74.96%" x2="92.24%"' in html
    assert '<circle cx="84.79%"' in html
    assert html.count("<circle") == 2


def test_confusion_matrix_has_counts_and_shares(html: str) -> None:
    assert "truly clear 54 90.0% 6 10.0% truly nodule 0 0.0% 60 100.0%" in words(html)


def test_equal_data_give_equal_pages(data: ReportData, html: str) -> None:
    assert render_report(dataclasses.replace(data)) == html


def test_hostile_text_stays_text(data: ReportData) -> None:
    table = Table(HOSTILE, (HOSTILE,), ((HOSTILE,),), HOSTILE)
    hostile = dataclasses.replace(
        data,
        **dict.fromkeys(
            ("title", "task", "summary", "created", "synthetic", "unit", "group", "made_by"), HOSTILE
        ),
        classes=(HOSTILE, "clear"),
        roc={HOSTILE: data.roc["model"]},
        precision_recall={HOSTILE: data.precision_recall["model"]},
        calibration={HOSTILE: data.calibration["model"]},
        training=(TrainingCurve(HOSTILE, (1.0,), (1.0,)),),
        estimates=(dataclasses.replace(data.estimates[0], name=HOSTILE, method=HOSTILE),),
        flow=Flow(
            (FlowStep(HOSTILE, 1, 1, (Exclusion(HOSTILE, 1),), HOSTILE),), (FlowPart(HOSTILE, 1),), HOSTILE
        ),
        folds=table,
        cohort=(table,),
        mistakes=(dataclasses.replace(data.mistakes[0], identifier=HOSTILE, truth=HOSTILE, note=HOSTILE),),
        limitations=(HOSTILE,),
        ingest=Ingest(HOSTILE, (table,), (Question(HOSTILE, HOSTILE, table),)),
        settings=(TextBlock(HOSTILE, HOSTILE),),
        lineage=(table,),
    )
    html = render_report(hostile)
    found = outline(html)
    assert not found.all("script")
    assert "alert(" in "".join(found.text)
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert "$y_1$" in "".join(found.text)


def test_empty_parts_have_no_section() -> None:
    bare = ReportData(title="Bare", task="None yet.", summary="Nothing was tested.", created="today")
    html = render_report(bare)
    found = outline(html)
    assert not found.all("h2")
    assert not found.all("img")
    assert 'class="banner"' not in html
    assert "Not a medical device" in html


def test_without_patients_the_page_does_not_speak_of_them(data: ReportData) -> None:
    text = words(render_report(dataclasses.replace(data, unit="images", group="images")))
    assert "Tested on 120 images." in text
    assert "Where several belong to one patient, the intervals are too short." in text


def test_a_class_without_cases_has_no_share(data: ReportData) -> None:
    empty = dataclasses.replace(data, confusion=np.array([[5, 0], [0, 0]]))
    assert "truly nodule 0 not defined 0 not defined" in words(render_report(empty))


def test_guessing_is_marked_where_the_scale_shows_it(data: ReportData) -> None:
    weak = dataclasses.replace(data, estimates=(estimate("roc_auc", 0.45, 0.3, 0.6),))
    html = render_report(weak)
    assert 'class="guess" x1="50.0%"' in html
    assert 'class="span" x1="30.8%" x2="59.6%"' in html


def test_flow_counts_and_fits_its_boxes(data: ReportData) -> None:
    svg = str(flow_svg(data.flow))
    for line in ("130 files", "Left out: 10 files", "3 truncated", "1,120 volumes of 60 patients"):
        assert f">{line}</text>" in svg
    assert "Left out: 7, no label." in svg
    width, height = (float(number) for number in re.search(r"viewBox=\"0 0 (\S+) (\S+)\"", svg).groups())
    for numbers in re.findall(r'<rect x="(\S+)" y="(\S+)" width="(\S+)" height="(\S+)"', svg):
        left, top, wide, tall = map(float, numbers)
        assert 0 <= left < left + wide <= width
        assert 0 <= top < top + tall <= height


def test_flow_breaks_long_reasons_and_many_parts() -> None:
    reason = "the series holds several positions and no spatial volume may be made of it " * 2
    parts = tuple(FlowPart(f"Fold {number}", 10) for number in range(6))
    svg = str(flow_svg(Flow((FlowStep("Found", 60, None, (Exclusion(reason, 5),)),), parts)))
    lines = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert max(map(len, lines)) < 48
    assert " ".join(lines).count("spatial volume") == 2
    assert len(set(re.findall(r'class="part"><rect x="\S+" y="(\S+)"', svg))) == 2


def test_png_holds_the_pixels() -> None:
    generator = np.random.default_rng(4)
    image_module = pytest.importorskip("PIL.Image")
    for shape in ((7, 5), (4, 9, 3), (1, 1)):
        pixels = generator.integers(0, 256, shape, dtype=np.uint8)
        with image_module.open(io.BytesIO(png(pixels))) as picture:
            np.testing.assert_array_equal(np.asarray(picture), pixels)
    data = base64.b64decode(png_uri(pixels).removeprefix("data:image/png;base64,"))
    assert data == png(pixels)
    length = struct.unpack(">I", data[8:12])[0]
    checksum = struct.unpack(">I", data[16 + length : 20 + length])[0]
    assert checksum == zlib.crc32(data[12 : 16 + length])


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_what_is_no_picture_is_refused(wrong) -> None:
    with pytest.raises(UsageError, match="uint8 of shape"):
        png(wrong)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (1234567, "1,234,567"),
        (np.int64(1200), "1,200"),
        (0.98765, "0.988"),
        (-0.00001, "0.000"),
        (4.25, "4.25"),
        (1234.56, "1,234.6"),
        (-12.34, "\N{MINUS SIGN}12.3"),
        (math.nan, "not defined"),
        (math.inf, "infinite"),
        (None, "not known"),
        (True, "yes"),
        ("text", "text"),
        (estimate("recall", 0.9, 0.8, 0.95), "90.0% (80.0% to 95.0%)"),
        (estimate("roc_auc", 0.9), "0.900"),
        (estimate("roc_auc", math.nan), "not defined"),
    ],
)
def test_cells_in_words(cell, text: str) -> None:
    assert show_cell(cell) == text


def test_values_in_words() -> None:
    assert show_value(0.12345, percent=True) == "12.3%"
    assert show_value(-0.5) == "\N{MINUS SIGN}0.500"
    assert show_interval(estimate("recall", 0.5)) == "not defined"
    assert metric_words("own_metric").title == "own metric"
