"""The progress bar, seen and unseen."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from voxlake.engine.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drive(total: int | None, enabled: bool | None) -> None:
    with progress_bar("ingest [1]", total, enabled=enabled) as bar:
        bar.advance()
        bar.advance(1999, "3 quarantined [x]")
        assert bar.count == 2000


@pytest.mark.parametrize("enabled", [None, False])
def test_nothing_is_written_when_nobody_looks(
    enabled: bool | None, capfd: pytest.CaptureFixture[str]
) -> None:
    drive(4000, enabled)
    assert capfd.readouterr() == ("", "")


def test_not_even_to_a_terminal_when_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    drive(4000, False)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("enabled", [None, True])
@pytest.mark.parametrize(("total", "words"), [(4000, ["2,000/4,000", "left"]), (None, ["2,000"])])
def test_what_a_person_sees(
    monkeypatch: pytest.MonkeyPatch, enabled: bool | None, total: int | None, words: list[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    drive(total, enabled)
    for word in ["ingest [1]", "3 quarantined [x]", *words]:
        assert word in terminal.getvalue()


def test_rich_is_imported_only_for_those_who_look() -> None:
    code = (
        "import sys\nfrom voxlake.engine.progress import progress_bar\n"
        "with progress_bar('x', 3) as bar:\n    bar.advance()\n"
        "print('rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_balance_is_shown_as_it_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "160")
    counts = {"seen": 3000}
    with progress_bar("ingest", 4000, enabled=True, counts=counts) as bar:
        counts |= {"stored": 1200, "already": 790, "quarantined": 10}
        bar.reach(2000)
        bar.advance(0, "a note")
        assert bar.count == 2000
    for words in ("2,000/4,000", "1,200 stored + 790 already there + 10 quarantined", "left", "a note"):
        assert words in terminal.getvalue()
