from __future__ import annotations

from pathlib import Path

import pytest

from voxlake.core.errors import ItemError, NotFoundError, SettingsError
from voxlake.sources.item import Hints
from voxlake.sources.mapping import load_mapping
from voxlake.sources.open import open_source

RULES = """
label_name = "finding"
labels = {N = "normal"}

[[rules]]
pattern = '^(?P<label>[A-Z])/(?P<patient>p\\d+)(?:_(?P<label_side>left|right))?_(?P<visit>\\d)\\.png$'
study = "{patient}-{visit}"
modality = "DX"

[[rules]]
pattern = '\\.png$'
body_part = "CHEST"
label = "unknown"
"""


def load(tmp_path: Path, text: str, name: str = "map.toml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return load_mapping(path)


def test_groups_templates_constants_and_renamed_labels(tmp_path):
    mapping = load(tmp_path, RULES)
    assert mapping.hints("N/p12_left_3.png") == Hints(
        patient="p12", study="p12-3", modality="DX", labels=(("finding", "normal"), ("side", "left"))
    )
    assert mapping.hints("X/p1_2.png") == Hints(
        patient="p1", study="p1-2", modality="DX", labels=(("finding", "X"),)
    )


def test_the_first_rule_that_matches_counts(tmp_path):
    mapping = load(tmp_path, RULES)
    assert mapping.hints("a/b.png") == Hints(body_part="CHEST", labels=(("finding", "unknown"),))
    assert mapping.hints("a/b.jpg") is None


def test_the_digest_is_that_of_the_content(tmp_path):
    first, second = load(tmp_path, RULES, "a.toml"), load(tmp_path, RULES, "b.toml")
    assert first.digest == second.digest
    assert load(tmp_path, RULES + "\n# more").digest != first.digest


def test_accents_match_however_they_are_composed(tmp_path):
    mapping = load(tmp_path, "[[rules]]\npattern = '^Läsion/'\nlabel = 'yes'")
    assert mapping.hints("La\u0308sion/1.png") == mapping.hints("L\u00e4sion/1.png") is not None


def test_very_long_names_match_nothing(tmp_path):
    mapping = load(tmp_path, "[[rules]]\npattern = 'a'\nlabel = 'yes'")
    assert mapping.hints("a" * 1024) is not None
    assert mapping.hints("a" * 1025) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lable_name = 'x'\n[[rules]]\npattern = 'a'", "label_name"),
        ("[[rules]]\npatern = 'a'", "did you mean 'pattern'"),
        ("[[rules]]\npattern = '(a'", "rule 1: 'pattern' is not a regular expression: .* at character 1"),
        (
            "[[rules]]\npattern = 'ok'\n[[rules]]\npattern = '(?P<patent>a)'",
            "rule 2: group 'patent'.*'patient'",
        ),
        ("[[rules]]\npattern = '(?P<patient>a)'\nstudy = '{patent}'", "{patent}.*did you mean 'patient'"),
        ("[[rules]]\npattern = '(?P<label_>a)'", "label_"),
        ("unmatched = 'drop'\n[[rules]]\npattern = 'a'", "unmatched"),
        ("unmatched = 'keep'", "rules"),
        ("rules = []", "rules"),
        ("[[rules]]\npattern = ''", "pattern"),
        ('[[rules]]\npattern = "\\d"', "single quotes"),
    ],
)
def test_mistakes_are_explained(tmp_path, text, message):
    with pytest.raises(SettingsError, match=message):
        load(tmp_path, text)


def test_other_files(tmp_path):
    with pytest.raises(NotFoundError):
        load_mapping(tmp_path / "none.toml")
    with pytest.raises(SettingsError, match=r"did you mean '\.toml'"):
        load(tmp_path, "x", "map.tml")
    (tmp_path / "latin.toml").write_bytes("label_name = 'ä'".encode("latin-1"))
    with pytest.raises(SettingsError, match="UTF-8"):
        load_mapping(tmp_path / "latin.toml")


def test_a_table(tmp_path):
    mapping = load(
        tmp_path,
        "path,patient,modality,label,label:side\n"
        "a/1.png,p1,DX,sick,\n"
        "a/*.png,p2,,well,left\n"
        "odd[1].png,p3,,,\n"
        "\n",
        "map.csv",
    )
    assert mapping.hints("a/1.png") == Hints(patient="p1", modality="DX", labels=(("label", "sick"),))
    assert mapping.hints("a/b/c.png") == Hints(patient="p2", labels=(("label", "well"), ("side", "left")))
    assert mapping.hints("odd[1].png") == Hints(patient="p3")
    assert mapping.hints("b/1.png") is None
    assert mapping.unmatched == "keep"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_from_a_spreadsheet(tmp_path, delimiter):
    lines = ["path,patient,label:a b", '.\\x\\1.png,"Doe, Jane",{x}']
    text = "\ufeff" + "\r\n".join(line.replace(",", delimiter) for line in lines)
    name = "Doe, Jane".replace(",", delimiter)
    assert load(tmp_path, text, "t.csv").hints("x/1.png") == Hints(patient=name, labels=(("a b", "{x}"),))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,patiant\na,b", "did you mean 'patient'"),
        ("patient\na", "no column 'path'"),
        ("", "no column 'path'"),
        ("path,patient\na", "line 2: 1 cells, the header has 2"),
        ("path,patient\na,1\na,2", "lines 2 and 3"),
        ("path,patient\n,1", "line 2: no path"),
        ("path,label:,x\na,b,c", "label:"),
        ("path,path\na,b", "twice"),
        ('path\n"a', "not CSV"),
    ],
)
def test_mistakes_in_tables_are_explained(tmp_path, text, message):
    with pytest.raises(SettingsError, match=message):
        load(tmp_path, text, "t.csv")


def test_the_same_row_twice_is_no_contradiction(tmp_path):
    assert load(tmp_path, "path,patient\na,1\na,1", "t.csv").hints("a") == Hints(patient="1")


def images(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    root.mkdir()
    for name in (".DS_Store", "a.png", "notes.txt"):
        (root / name).write_bytes(b"1")
    (root / "gone").symlink_to("nowhere")
    return root


@pytest.mark.parametrize(("unmatched", "reason"), [("keep", None), ("ignore", "ignored_not_matched")])
def test_what_becomes_of_files_that_match_nothing(tmp_path, unmatched, reason):
    mapping = load(tmp_path, f"unmatched = '{unmatched}'\n[[rules]]\npattern = 'png$'\npatient = 'p'")
    source = open_source(images(tmp_path), mapping=mapping)
    found = {item.name: item for item in source}
    assert {name: item.ignored for name, item in found.items()} == {
        ".DS_Store": "ignored_system_file", "a.png": None, "gone": None, "notes.txt": reason,
    }  # fmt: skip
    assert found["a.png"].hints == Hints(patient="p")
    assert (found["a.png"].read(1), found["a.png"].size) == (b"1", 1)
    with pytest.raises(ItemError):
        found["gone"].read(1)
    assert source.labels_digest == mapping.digest


def test_unmatched_files_can_end_the_run(tmp_path):
    root = images(tmp_path)
    path = tmp_path / "m.toml"
    path.write_text("unmatched = 'error'\n[[rules]]\npattern = 'png$'")
    with pytest.raises(SettingsError, match="file 4 ") as caught:
        list(open_source(root, mapping=path))
    assert "notes" not in str(caught.value)


def test_a_mapping_comes_before_the_hints_of_the_source():
    own = Hints(patient="p", labels=(("a", "1"), ("b", "2")))
    over = Hints(study="s", labels=(("a", "9"),))
    assert over.over(own) == Hints(patient="p", study="s", labels=(("a", "9"), ("b", "2")))


EXAMPLE = Path(__file__).parents[3] / "src/voxlake/learning/recipes/chest_xray" / "mapping.toml"


@pytest.mark.parametrize(
    ("name", "finding", "patient"),
    [
        ("train/NORMAL/NORMAL2-IM-0793-0001-0002.jpeg", "NORMAL", "NORMAL2-IM-0793"),
        ("NORMAL/IM-0793-0001.jpeg", "NORMAL", "IM-0793"),
        ("x/PNEUMONIA/person1003_bacteria_2934.jpeg", "PNEUMONIA", "person1003"),
        ("PNEUMONIA/person1003_virus_1685_2.jpg", "PNEUMONIA", "person1003"),
    ],
)
def test_the_chest_xray_example(name, finding, patient):
    hints = load_mapping(EXAMPLE).hints(name)
    assert hints == Hints(patient=patient, modality="DX", body_part="CHEST", labels=(("finding", finding),))


@pytest.mark.realdata
def test_the_chest_xray_example_on_real_names(realdata):
    items = list(open_source(realdata / "chest_xray_pneumonia", mapping=EXAMPLE))
    assert [item.name for item in items if item.ignored] == ["SOURCE.txt"]
    kept = [item for item in items if not item.ignored]
    findings = [dict(item.hints.labels)["finding"] for item in kept]
    assert (findings.count("NORMAL"), findings.count("PNEUMONIA")) == (1000, 1501)
    patients = {item.hints.patient for item in kept}
    assert len(patients) == 1564
    by_patient: dict[str, set[str]] = {}
    for item, finding in zip(kept, findings, strict=True):
        by_patient.setdefault(item.hints.patient, set()).add(finding)
    assert all(len(each) == 1 for each in by_patient.values())
