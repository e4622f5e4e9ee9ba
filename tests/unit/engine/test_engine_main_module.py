"""Workers learn where the main module is, and `multiprocessing` does not."""

from __future__ import annotations

import pickle
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest

from voxlake.engine.main_module import MainModule, main_hidden


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("__main__")
    module.__file__ = "script.py"
    monkeypatch.setitem(sys.modules, "__main__", module)
    monkeypatch.setitem(sys.modules, "__mp_main__", module)
    return module


def test_here_is_absolute(main: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert MainModule.here() == MainModule(None, str(tmp_path / "script.py"))
    del main.__file__
    assert MainModule.here() == MainModule(None, None)


def test_hidden_for_a_while_even_if_it_fails(main: ModuleType) -> None:
    main.__spec__ = spec = object()
    with main_hidden():
        assert not hasattr(main, "__file__")
        assert main.__spec__ is None
    assert main.__file__ == "script.py"
    with suppress(LookupError), main_hidden():
        raise LookupError
    assert main.__file__ == "script.py"
    assert main.__spec__ is spec


def test_unpickling_loads_the_script_only_when_needed(main: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(
        "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\nclass Scan: pass\n"
    )
    here = MainModule(None, str(path))
    assert here.unpickle(pickle.dumps(["__main__", Path()])) == ["__main__", Path()]
    assert not path.with_suffix(".ran").exists()
    loaded = here.unpickle(b"c__main__\nScan\n.")
    assert path.with_suffix(".ran").exists()
    assert loaded.__module__ == "__mp_main__"
    assert sys.modules["__main__"].Scan is loaded
