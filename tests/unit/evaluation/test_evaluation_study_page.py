"""The page about a study: every number from its shapes, no value, and clear words on what was not done."""

from __future__ import annotations

import hashlib
import json
from html.parser import HTMLParser

from voxlake.evaluation.study_report import StudyFacts, StudyFile, study_json, study_page
from voxlake.privacy.changes import Change
from voxlake.privacy.policy import Policy, load_policy
from voxlake.privacy.shapes import Shape, image_shape

TOKEN = "ZQXPLANTED"
OWN = load_policy(
    """
name = "trial"
options = ["clean_descriptors", "retain_uids"]

[[rules]]
keyword = "StationName"
action = "keep"
why = "stations are <numbered> anew"

[[rules]]
vr = "LO"
pattern = "ZQXPLANTED"
action = "replace"
value = "ZQXPLANTED-NEW"
modality = "CT"

[[waivers]]
what = "modality:US"
reason = "cropped by hand by the study nurse"
"""
)
RESEARCH = load_policy("research")
SHOWN = ("removed", "Table E.1-1 X")


def shape(policy: Policy, *actions: Change, remains: tuple[tuple[str, str], ...] = (), waived=()) -> Shape:
    return Shape("dicom", "", policy.digest(), "2", "2026d", "9.9", waived, actions, remains)


def file(number: int, what: Shape | None, series: str | None = None) -> StudyFile:
    return StudyFile(f"2.25.9{number}", f"{number:064x}", what, series)


class _Tags(HTMLParser):
    """Checks that every element is closed in its order, and collects text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag not in {"meta", "br", "link", "img"}:
            self.open.append(tag)
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"][1:]] if given.get("href", "").startswith("#") else []
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "tr" in self.open and ("td" in self.open or "th" in self.open):
            self.rows[-1][-1] += data


def two_shapes() -> tuple[Shape, Shape]:
    removed = Change("(0008,0081)", "InstitutionAddress", *SHOWN)
    nested = Change("(0008,1140).(0008,1155)", "ReferencedSOPInstanceUID", "uid_mapped", "Table E.1-1 U")
    own = Change("(0008,1030)", "StudyDescription", "replaced", "own rule 2")
    kept = (("(0008,1030)", "StudyDescription"), ("(0008,1140)", "ReferencedImageSequence"))
    first = shape(
        OWN, removed, nested, remains=(*kept, ("(0008,1140).(0008,1155)", "ReferencedSOPInstanceUID"))
    )
    return first, shape(OWN, removed, own, remains=kept[:1], waived=("modality:US",))


def test_every_row_has_the_number_of_its_files():
    first, second = two_shapes()
    page = study_page([StudyFacts("2.25.1", "P-1", OWN, (file(1, first), file(2, first), file(3, second)))])
    tags = _Tags(page)
    assert tags.open == []
    assert len(set(tags.ids)) == len(tags.ids)
    assert set(tags.links) <= set(tags.ids)
    rows = [tuple(row) for row in tags.rows]
    assert ("(0008,0081)", "InstitutionAddress", "0", "removed", "Table E.1-1 X", "3") in rows
    name = "ReferencedSOPInstanceUIDin ReferencedImageSequence"
    assert ("(0008,1140).(0008,1155)", name, "1", "UID mapped", "Table E.1-1 U", "2") in rows
    assert ("(0008,1030)", "StudyDescription", "0", "replaced", "own rule 2", "1") in rows
    assert ("(0008,1030)", "StudyDescription", "0", "as it came", "2") in rows
    assert ("(0008,1030)", "StudyDescription", "0", "replaced", "1") in rows
    assert ("(0008,1140)", "ReferencedImageSequence", "0", "as it came", "2") in rows
    assert ("1", "keyword StationName", "keep", "stations are <numbered> anew", "0") in rows
    assert ("2", "VR LO, modality CT, a pattern in the value", "replace", "not said", "1") in rows
    assert ("modality:US", "cropped by hand by the study nurse", "1") in rows
    assert ("113105", "Clean Descriptors Option") in rows
    assert ("2.25.93", f"{3:064x}") in rows
    for said in (
        OWN.digest(),
        "edition 2026d",
        "voxlake 9.9",
        "P-1",
        "(113101) is not claimed",
        "sha256sum FILE",
    ):
        assert said in page
    assert "own rules may keep" in page


def test_patterns_and_replacements_of_the_policy_are_left_out():
    facts = [StudyFacts("2.25.1", "P-1", OWN, (file(1, two_shapes()[1]),))]
    assert TOKEN not in study_page(facts)
    assert TOKEN not in study_json(facts)


def test_the_digest_over_all_files_can_be_had_from_a_shell():
    files = tuple(file(number, two_shapes()[0]) for number in (3, 1, 2))
    lines = "".join(f"{number:064x}\n" for number in (1, 2, 3))
    expected = hashlib.sha256(lines.encode()).hexdigest()
    facts = [StudyFacts("2.25.1", None, OWN, files)]
    assert expected in study_page(facts)
    assert json.loads(study_json(facts))["studies"][0]["files_digest"] == expected


def test_an_element_that_came_empty_is_not_said_to_have_been_kept():
    remains = (
        ("(0008,0050)", "AccessionNumber"),
        ("(0008,0060)", "Modality"),
        ("(0008,1030)", "StudyDescription"),
    )
    of = {
        policy.name: json.loads(
            study_json([StudyFacts("2.25.1", None, policy, (file(1, shape(policy, remains=remains)),))])
        )["studies"][0]["parts"][0]["remains"]
        for policy in (RESEARCH, OWN)
    }
    assert [row["value"] for row in of["research"]] == ["nothing to take away", "as it came", "as it came"]
    # Own rules of this one may keep things, so nothing is claimed.
    assert [row["value"] for row in of["trial"]] == ["as it came"] * 3


def test_long_lists_are_folded():
    what = two_shapes()[0]
    few = study_page([StudyFacts("2.25.1", None, OWN, tuple(file(n, what) for n in range(12)))])
    many = study_page([StudyFacts("2.25.1", None, OWN, tuple(file(n, what) for n in range(13)))])
    assert "<details open>\n<summary>SHA-256 of 12 files" in few
    assert "<details>\n<summary>SHA-256 of 13 files" in many


def test_policies_and_studies_have_parts_of_their_own():
    png = image_shape("png", OWN, changed=True)
    facts = [
        StudyFacts("2.25.1", "P-1", OWN, (file(1, two_shapes()[0], "2.25.7"),)),
        StudyFacts("2.25.1", "P-2", RESEARCH, (file(2, shape(RESEARCH), "2.25.8"),)),
        StudyFacts("2.25.2", None, OWN, (file(3, png), file(4, None))),
    ]
    page = study_page(facts)
    tags = _Tags(page)
    assert tags.open == []
    assert set(tags.links) <= set(tags.ids)
    assert len(set(tags.ids)) == len(tags.ids)
    for said in (
        "Policy trial",
        "What was done under policy research",
        "2 studies",
        "1 of 2 files came in before",
    ):
        assert said in page
    read = json.loads(study_json(facts, created="today"))
    first, second = read["studies"]
    assert (read["created"], first["patients"], first["instances"], first["series"]) == (
        "today",
        ["P-1", "P-2"],
        2,
        2,
    )
    assert [part["name"] for part in first["parts"]] == ["trial", "research"]
    assert (second["formats"], second["series"], second["parts"][0]["unrecorded"]) == ([["png", 1]], None, 1)
    assert second["parts"][0]["done"][0] | {"instances": 1} == {
        "element": "", "keyword": "", "within": [], "depth": 0, "action": "metadata_stripped",
        "why": "metadata of png files", "instances": 1,
    }  # fmt: skip


def test_policy_none_is_a_warning_and_promises_nothing():
    none = load_policy("none")
    page = study_page(
        [StudyFacts("1.2.3", "4711", none, (file(1, image_shape("png", none, changed=False)),))]
    )
    assert "Not de-identified." in page
    assert "the identifiers on this page are the original ones" in page
    assert "are pseudonyms" not in page
    assert "byte for byte as they came" in page


def test_equal_facts_give_equal_pages():
    facts = [StudyFacts("2.25.1", "P-1", OWN, (file(1, two_shapes()[0]),))]
    assert study_page(facts) == study_page(facts)
