from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
from voxlake.engine.open import open_engine
with open_engine("processes:1") as engine:
    list(engine.map(len, ["x"]))
"""


def test_a_temporary_folder_with_a_long_name_is_named_as_the_cause(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    result = subprocess.run(
        [sys.executable, "-c", CODE], env={"TMPDIR": str(folder)}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "EngineError: worker processes cannot be started" in result.stderr
    assert "set TMPDIR" in result.stderr
