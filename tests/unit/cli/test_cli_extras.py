"""What is said where an extra is not installed."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires

import pytest

from voxlake.cli.extras import EXTRAS, missing_extra


def required(extra: str) -> set[str]:
    """Distributions that an extra asks for, as the package itself says."""
    wanted = [one for one in requires("voxlake") or () if re.search(rf"extra == ['\"]{extra}['\"]", one)]
    return {re.split(r"[\[<>=;! ]", one)[0].lower() for one in wanted}


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_each_extra_brings_its_modules_and_no_others(extra: str) -> None:
    brought = packages_distributions()
    assert {brought[module][0].lower() for module in EXTRAS[extra]} == required(extra)


def test_a_module_of_no_extra_is_not_explained_away() -> None:
    assert missing_extra(ModuleNotFoundError("No module named 'nothing'", name="nothing")) is None
    assert missing_extra(ModuleNotFoundError("torch")) is None
    said = missing_extra(ModuleNotFoundError("No module named 'sklearn.linear_model'", name="sklearn.svm"))
    assert said is not None
    assert "pip install 'voxlake[mine]'" in said


def test_the_command_names_the_extra() -> None:
    # None in the place of a module is how Python itself is told that there is none.
    without = "import sys; sys.modules['torch'] = None; from voxlake.cli.main import run; "
    done = subprocess.run(
        [sys.executable, "-c", f"{without}sys.exit(run(['train', '--help']))"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "voxlake: this needs 'torch', which is not installed; run `pip install 'voxlake[learn]'`\n"
    )
