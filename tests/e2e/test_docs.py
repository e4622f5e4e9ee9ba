"""The documentation does what it says: every block of code runs, every link leads somewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import pytest

import voxlake
from voxlake.verbs import VERBS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md"]
RUN = {"python", "sh"}

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)(?P<rest>[^\n`]*)$")
_NO_RUN = re.compile(r"<!--\s*no-run(?P<reason>.*?)-->", re.DOTALL)
_TITLE = re.compile(r'title="([^"]+)"')
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_SHELL_SECONDS = 120
WARM = Path(__file__).with_name("warm.py")
_CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.connect({path!r})
    socket.send_fds(line, [b"!"], [0, 1, 2])
    words = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode()
    line.sendall(len(words).to_bytes(8, "little") + words)
    sys.exit(int(line.recv(16) or b"70"))
"""


@dataclass(frozen=True)
class Block:
    """A fenced block; `reason` is what its no-run comment says, None without such a comment."""

    page: Path
    line: int
    language: str
    title: str | None
    reason: str | None
    text: str

    @property
    def runs(self) -> bool:
        return self.language in RUN and self.title is None and self.reason is None


def blocks(page: Path) -> Iterator[Block]:
    """Blocks of a page in their order."""
    lines = page.read_text("utf-8").splitlines()
    number = 0
    before = ""
    while number < len(lines):
        match = _FENCE.match(lines[number])
        if match is None:
            before = lines[number] if lines[number].strip() else before
            number += 1
            continue
        start, body = number, []
        number += 1
        while lines[number].strip() != "```":
            body.append(lines[number].removeprefix(match["indent"]))
            number += 1
        number += 1
        comment = _NO_RUN.search(before)
        title = _TITLE.search(match["rest"])
        yield Block(
            page,
            start + 1,
            match["language"],
            title[1] if title else None,
            comment["reason"].removeprefix(":").strip() if comment else None,
            "\n".join(body) + "\n",
        )
        before = ""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


EVERY = [block for page in PAGES for block in blocks(page)]
LIVE = sorted({block.page for block in EVERY if block.runs})


@pytest.fixture(scope="module")
def commands() -> Iterator[Path]:
    """Offer a folder for PATH in which `voxlake` is a door to a process that has its imports behind it."""
    # Not below the folder of pytest: its path may be too long for a socket.
    with TemporaryDirectory() as folder:
        door, path = Path(folder, "voxlake"), Path(folder, "socket")
        door.write_text(_CLIENT.format(python=sys.executable, path=str(path)), "utf-8")
        door.chmod(0o755)
        with subprocess.Popen([sys.executable, WARM, path], stdout=subprocess.PIPE) as server:
            try:
                assert server.stdout is not None
                assert server.stdout.readline() == b"ready\n"
                yield Path(folder)
            finally:
                server.kill()


@pytest.fixture
def home(tmp_path: Path, commands: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new home and working folder, so that no key and no cache lands in the real one."""
    folder = tmp_path / "home"
    folder.mkdir()
    work = tmp_path / "work"
    work.mkdir()
    for variable in [each for each in os.environ if each.startswith("VOXLAKE_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv(
        "PATH", os.pathsep.join([str(commands), str(Path(sys.prefix, "bin")), os.environ["PATH"]])
    )
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(Path, "home", staticmethod(lambda: folder))
    monkeypatch.chdir(work)
    monkeypatch.syspath_prepend(work)
    return folder


# A quarter of a minute and more each on two cores; what they show has tests of its own.
LONG = {
    "docs/concepts/pixel-ranges.md",
    "docs/how-to/augment-and-register.md",
    "docs/how-to/bring-labels-later.md",
    "docs/how-to/compact.md",
    "docs/how-to/export.md",
    "docs/how-to/ingest-a-pacs-export.md",
    "docs/how-to/keep-the-key-safe.md",
    "docs/how-to/map-names-to-labels.md",
    "docs/how-to/masks-from-seg-and-rtstruct.md",
    "docs/how-to/measure.md",
    "docs/how-to/monitoring.md",
    "docs/how-to/pretrained-models.md",
    "docs/how-to/pseudonym-lists.md",
    "docs/how-to/query-with-sql.md",
    "docs/how-to/read-the-report.md",
    "docs/how-to/rotate-and-rekey.md",
    "docs/how-to/splits-and-leakage.md",
    "docs/how-to/verify.md",
    "docs/how-to/withdraw-and-erase.md",
    "docs/tutorials/first-model.md",
    "docs/tutorials/mine-a-table.md",
    "docs/tutorials/reader-ratings.md",
}


def test_long_pages_are_there() -> None:
    assert {name(page) for page in LIVE} >= LONG


@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.slow if name(page) in LONG else ()) for page in LIVE],
    ids=name,
)
def test_every_block_runs(page: Path, home: Path) -> None:
    known = set(sys.modules)
    session: dict[str, object] = {"__name__": "__docs__"}
    try:
        for block in blocks(page):
            if block.title is not None:
                Path(block.title).write_text(block.text, "utf-8")
            elif block.runs and block.language == "sh":
                run_shell(block)
            elif block.runs:
                # The line numbers of a traceback are those of the page.
                code = compile("\n" * block.line + block.text, str(page), "exec")
                exec(code, session)
    finally:
        # Modules that a page wrote must not be found by the next one.
        for module in set(sys.modules) - known:
            if str(getattr(sys.modules[module], "__file__", None) or "").startswith(str(home.parent)):
                del sys.modules[module]


def run_shell(block: Block) -> None:
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", block.text],
        capture_output=True,
        text=True,
        timeout=_SHELL_SECONDS,
        check=False,
    )
    said = f"{name(block.page)}:{block.line} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, said
    assert "Traceback" not in done.stderr, said


def test_blocks_are_found() -> None:
    assert len(LIVE) >= 12
    assert sum(block.runs for block in EVERY) >= 60


def test_what_does_not_run_says_why() -> None:
    silent = [
        f"{name(block.page)}:{block.line}"
        for block in EVERY
        if block.reason is not None and len(block.reason) < 15
    ]
    assert not silent
    unknown = [
        f"{name(block.page)}:{block.line} ({block.language})"
        for block in EVERY
        if block.language not in RUN | {"text", "toml", "csv"}
    ]
    assert not unknown, "a block without a language, or with one that this test does not know, is not checked"


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.command)
def test_every_verb_has_an_example(verb) -> None:
    written = [
        block
        for block in EVERY
        if block.language == "sh"
        and "reference" not in block.page.parts
        and re.search(rf"(?m)^\s*voxlake {verb.command}\b", block.text)
    ]
    assert written, f"no page shows 'voxlake {verb.command}'"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"(?ms)^ *```.*?^ *```$", "", page.read_text("utf-8"))
    for target in _LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            assert target.startswith("https://"), target
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{name(page)}: {target}"
        # The anchors of python.md are made from docstrings when the site is built.
        if anchor and found.name != "python.md":
            assert anchor in anchors(found), f"{name(page)}: {target}"


def anchors(page: Path) -> set[str]:
    found = re.findall(r"(?m)^#+ (.+)$", page.read_text("utf-8"))
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in found}


def test_links_of_commands_are_in_the_python_reference() -> None:
    python = (DOCS / "reference" / "python.md").read_text("utf-8")
    targets = re.findall(r"python\.md#([\w.]+)", (DOCS / "reference" / "commands.md").read_text("utf-8"))
    assert len(targets) == len(VERBS)
    assert all(f"::: {target}\n" in python for target in targets)
    assert all(f"## voxlake.{each}\n" in python for each in voxlake.__all__)


def test_generated_pages_are_up_to_date() -> None:
    old = [name(path) for path, text in load_script().pages().items() if path.read_text("utf-8") != text]
    assert not old, "run `python scripts/make_reference.py`"


def load_script() -> ModuleType:
    path = ROOT / "scripts" / "make_reference.py"
    spec = importlib.util.spec_from_file_location("make_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_decisions_are_in_the_index() -> None:
    folder = DOCS / "decisions"
    index = (folder / "README.md").read_text("utf-8")
    pages = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", index) == pages
    numbers = [int(page[:4]) for page in pages]
    assert numbers == list(range(1, len(pages) + 1)), "decisions are numbered without gaps"


def test_pages_are_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    missing = [
        name(page)
        for page in PAGES
        if page.is_relative_to(DOCS)
        and not re.match(r"\d{4}-", page.name)
        and str(page.relative_to(DOCS)) not in navigation
    ]
    assert not missing
