"""TOML is read from a file or from text, and what cannot be read is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxlake.core.errors import NotFoundError, SettingsError
from voxlake.core.registry import read_entry
from voxlake.core.settings import Settings
from voxlake.core.toml import check_keys, load_tables, rows_of


class Blur(Settings):
    """An entry of a registry."""

    sigma: float = 1.0


KNOWN = {"blur": Blur}


def test_text_has_no_folder_and_a_file_has_one(tmp_path: Path) -> None:
    path = tmp_path / "one.toml"
    path.write_text("a = 1\n", encoding="utf-8")
    assert load_tables("a = 1\n", "plan") == ({"a": 1}, "plan", None)
    assert load_tables(path, "plan") == ({"a": 1}, "plan 'one.toml'", tmp_path)
    assert load_tables(str(path), "plan") == load_tables(path, "plan")


@pytest.mark.parametrize("source", ["nowhere.toml", "a = 1", "", "a = 1 # " + "long " * 200, "nul\0.toml"])
def test_what_is_neither_text_nor_file_is_not_found(source: str) -> None:
    with pytest.raises(NotFoundError, match=r"no task file '.*'; give a path to a TOML file"):
        load_tables(source, "task")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no plan file"):
        load_tables(tmp_path, "plan")


def test_what_is_no_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"^task 'one.toml' is not UTF-8 text$"):
        load_tables(path, "task")
    path.write_text("a = [", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"^task 'one.toml' is not valid TOML: "):
        load_tables(path, "task")
    with pytest.raises(SettingsError, match=r"^task is not valid TOML: "):
        load_tables("a = [\n", "task")


def test_keys_and_rows() -> None:
    check_keys({"steps": []}, ("steps",), "plan")
    with pytest.raises(SettingsError, match="plan: unknown key 'stepz'; did you mean 'steps'"):
        check_keys({"stepz": []}, (name for name in ("steps", "labels")), "plan")
    assert rows_of({"steps": [{"a": 1}]}, "steps", "plan") == [{"a": 1}]
    assert rows_of({}, "steps", "plan") == []
    for wrong in (3, {"a": 1}, [3]):
        with pytest.raises(SettingsError, match=r"plan: 'steps' must be a list of tables \(\[\[steps\]\]\)"):
            rows_of({"steps": wrong}, "steps", "plan")


def test_an_entry_is_read_by_name() -> None:
    row = {"step": "blur", "sigma": 2}
    assert read_entry(row, "step", KNOWN, "plan, step 1") == Blur(sigma=2)
    assert row == {"step": "blur", "sigma": 2}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"sigma": 2}, "plan: missing key 'step', the name of the step; known: blur"),
        ({"step": 3}, "plan: missing key 'step'"),
        ({"step": "blurr"}, "plan: unknown step 'blurr'; did you mean 'blur'?"),
        ({"step": "blur", "sigme": 2}, "plan (blur): unknown key 'sigme'; did you mean 'sigma'?"),
    ],
)
def test_an_entry_that_cannot_be_read(row: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_entry(row, "step", KNOWN, "plan")
    assert message in str(caught.value)
