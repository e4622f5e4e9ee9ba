"""The door for the shell, as a user meets it."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import voxlake
from voxlake.cli.main import run
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake
from voxlake.sources.phantoms import Phantoms
from voxlake.verbs import VERBS


@pytest.fixture
def shell(lake: Lake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Lake:
    """A lake that the environment points to."""
    monkeypatch.setenv("VOXLAKE_LAKE", lake.url)
    monkeypatch.setenv("VOXLAKE_KEY_FILE", str(lake.key_file))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return lake


def test_verbs_are_functions_commands_and_documented() -> None:
    for verb in VERBS:
        function = getattr(import_module(verb.module), verb.function)
        document = inspect.getdoc(function)
        assert document is not None
        assert document.splitlines()[0] == verb.summary, verb.command
        assert "Examples\n--------" in document
        assert getattr(voxlake, verb.function) is function
        assert verb.example.startswith(f"voxlake {verb.command}")
    assert sorted(voxlake.__all__) == sorted(set(voxlake._EXPORTS))


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(verb.command.split()[0] in listed for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.command)
def test_help_of_each_verb_has_an_example(verb, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*verb.command.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example: voxlake" in shown
    assert "--json" in shown


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom voxlake.cli.main import run\nrun(['--help'])\n"
        "heavy = {'torch', 'duckdb', 'numpy', 'pydantic', 'pydicom', 'zarr', 'pandas'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_voxlake_loads_nothing_heavy() -> None:
    code = "import sys, voxlake\nsys.exit(len({'torch', 'duckdb', 'numpy', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("words", "status"), [("--version", 0), ("no-such-verb", 2)])
def test_the_interpreter_is_not_taken_apart_at_the_end(words: str, status: int) -> None:
    """As a native thread would that asks for the interpreter too late; exit functions run all the same."""
    code = (
        "import atexit, os, sys\n"
        "from voxlake.cli import main\n"
        "class Late:\n"
        "    def __del__(self, abort=os.abort):\n"
        "        abort()\n"
        "sys.late = Late()\n"
        f"sys.argv[1:] = ['{words}']\n"
        "class Words(list):\n"
        "    def __getitem__(self, part):\n"
        "        atexit.register(print, 'exit functions ran')\n"
        "        return list.__getitem__(self, part)\n"
        "sys.argv = Words(sys.argv)\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert done.stdout.endswith("exit functions ran\n")


def test_from_ingest_to_cohort(shell: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    source = "phantoms:?patients=3&slices=8&rows=16&columns=16&second_study=0"
    assert run(["ingest", source, "--json", "--engine", "serial"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1])["counts"] == {"seen": 24, "stored": 24}
    assert "24 seen = 24 stored" in said.err
    assert run(["sql", "select modality, count(*) as n from series group by 1", "--format", "csv"]) == 0
    assert capsys.readouterr().out == "modality,n\nCT,3\n"
    assert run(["sql", "select 1 as one", "--json"]) == 0
    said = capsys.readouterr()
    assert (json.loads(said.out), json.loads(said.err)["rows"]) == ([{"one": 1}], 1)
    assert run(["sql", "select * from series", "--format", "parquet", "--output", "out.parquet"]) == 0
    assert Path("out.parquet").stat().st_size > 1000
    assert run(["select", "all", "modality = 'CT'"]) == 0
    assert "cohort: all@1" in capsys.readouterr().err
    assert run(["cohort", "list"]) == 0
    assert "all" in capsys.readouterr().out
    assert run(["cohort", "show", "all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["series"] == 3
    assert run(["prepare", "all", "--plan", "ct-phantom", "--engine", "serial", "--memory", "2GiB"]) == 0
    assert "3 seen = 3 stored" in capsys.readouterr().err


def test_quarantine_and_strict(shell: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    Path("in").mkdir()
    Path("in/notes.txt").write_text("no image")
    assert run(["ingest", "in", "--engine", "serial"]) == 0
    assert run(["ingest", "in", "--engine", "serial", "--strict"]) == 1
    assert "unknown_format" in capsys.readouterr().err
    assert run(["quarantine", "list", "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert run(["quarantine", "show", row["quarantine_id"][:6]]) == 0
    assert "source_name: notes.txt" in capsys.readouterr().out


def test_labels(shell: Lake, phantoms: Phantoms, capsys: pytest.CaptureFixture[str]) -> None:
    ingest(shell, phantoms, engine="serial")
    Path("labels.csv").write_text("patient,grade\nx,1\n")
    assert run(["label", "labels.csv", "--level", "patient"]) == 0
    assert "unmatched: 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ingset", "x"], "ingest"),
        (["ingest"], "at least one source"),
        (["ingest", "/no/such/folder"], "source is not there"),
        (["ingest", "x", "--polcy", "none"], "policy"),
        (["label", "x.csv", "--level", "body"], "level"),
        (["prepare", "nobody", "--plan", "xray-64"], "no cohort 'nobody'"),
        (["train", "nothing.toml"], "no task file"),
        (["evaluate", "nothing"], "no model 'nothing'"),
        (["ingest", "x", "--memory", "lots"], "no size"),
    ],
)
def test_wrong_usage_is_2(
    shell: Lake, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert says in " ".join((said.out + said.err).split())


def test_a_failed_run_is_1(shell: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sql", "select * from seires"]) == 1
    assert "did you mean 'series'" in capsys.readouterr().err


def test_no_lake_is_made_by_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VOXLAKE_LAKE", raising=False)
    assert run(["sql", "select 1"]) == 2
    assert "no lake at './lake'" in capsys.readouterr().err
    assert not Path("lake").exists()
