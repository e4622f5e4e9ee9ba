"""Scripts as people write them, run as they run them: every warning an error, nothing on stderr."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from voxlake.testing.engines import is_running, wait_until

OPEN = "from voxlake.engine.open import open_engine\nprint('top level')\n"
DOUBLE = "def double(item):\n    return 2 * item\n"
RUN = """
with open_engine('processes:2') as engine:
    print(sorted(outcome.value for outcome in engine.map(double, [1, 2])))
"""


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-X", "dev", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def script(folder: Path, text: str, name: str = "script.py") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return name


def indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_script_without_guard_runs_once(tmp_path: Path) -> None:
    text = OPEN + "from operator import neg as double\n" + RUN
    assert succeeded(run(script(tmp_path, text), cwd=tmp_path)) == "top level\n[-2, -1]\n"


def test_a_module_without_guard_runs_once(tmp_path: Path) -> None:
    script(tmp_path, OPEN + "from operator import neg as double\n" + RUN, "job.py")
    assert succeeded(run("-m", "job", cwd=tmp_path)) == "top level\n[-2, -1]\n"


def test_a_command_without_guard_runs_once(tmp_path: Path) -> None:
    text = OPEN + "from operator import neg as double\n" + RUN
    assert succeeded(run("-c", text, cwd=tmp_path)) == "top level\n[-2, -1]\n"


def test_a_function_in_a_module_beside_the_script(tmp_path: Path) -> None:
    script(tmp_path, "print('helper')\n" + DOUBLE, "helper.py")
    text = "from helper import double\n" + OPEN + RUN
    out = succeeded(run(script(tmp_path, text), cwd=tmp_path))
    assert out.count("top level") == 1
    assert "[2, 4]" in out


def test_a_function_of_a_guarded_script(tmp_path: Path) -> None:
    text = OPEN + DOUBLE + "if __name__ == '__main__':\n" + indented(RUN)
    assert "[2, 4]" in succeeded(run(script(tmp_path, text), cwd=tmp_path))


def test_a_function_of_a_guarded_module(tmp_path: Path) -> None:
    script(tmp_path, OPEN + DOUBLE + "if __name__ == '__main__':\n" + indented(RUN), "job.py")
    assert "[2, 4]" in succeeded(run("-m", "job", cwd=tmp_path))


def test_an_item_of_a_guarded_script(tmp_path: Path) -> None:
    text = (
        "from dataclasses import dataclass\nfrom operator import attrgetter\n"
        "from voxlake.engine.open import open_engine\n"
        "@dataclass\nclass Scan:\n    name: str\n"
        "if __name__ == '__main__':\n"
        "    with open_engine('processes:1') as engine:\n"
        "        print([o.value for o in engine.map(attrgetter('name'), [Scan('a')])])\n"
    )
    assert succeeded(run(script(tmp_path, text), cwd=tmp_path)) == "['a']\n"


def test_a_function_of_a_script_without_guard_is_explained(tmp_path: Path) -> None:
    done = run(script(tmp_path, OPEN + DOUBLE + RUN), cwd=tmp_path)
    assert done.returncode == 1
    assert "EngineError: a worker could not load the function" in done.stderr
    assert "if __name__ == '__main__'" in done.stderr
    assert "[2, 4]" not in done.stdout


def test_a_function_of_a_notebook_is_explained(tmp_path: Path) -> None:
    done = run("-c", OPEN + DOUBLE + RUN, cwd=tmp_path)
    assert done.returncode == 1
    assert "define the function at the top level of a module" in done.stderr
    assert done.stdout == "top level\n"


def test_an_engine_that_nobody_closes(tmp_path: Path) -> None:
    text = (
        "from voxlake.engine.open import open_engine\nfrom voxlake.testing.engine_tasks import work_in\n"
        "engine = open_engine('processes:2')\n"
        "outcomes = engine.map(work_in, [0.01, 0.01] + [100] * 9)\n"
        "print(next(outcomes).value, next(outcomes).value)\n"
    )
    workers = [int(pid) for pid in succeeded(run(script(tmp_path, text), cwd=tmp_path)).split()]
    assert wait_until(lambda: not any(map(is_running, workers)), 5)


def test_an_engine_and_the_own_processes_of_a_script(tmp_path: Path) -> None:
    text = (
        "import multiprocessing\nfrom operator import neg\nfrom voxlake.engine.open import open_engine\n"
        "def double(item):\n    return 2 * item\n"
        "if __name__ == '__main__':\n"
        "    with open_engine('processes:1') as engine:\n"
        "        print([o.value for o in engine.map(neg, [1])])\n"
        "        with multiprocessing.get_context('forkserver').Pool(1) as pool:\n"
        "            print(pool.map(double, [1]))\n"
        "            pool.close()\n            pool.join()\n"
    )
    assert succeeded(run(script(tmp_path, text), cwd=tmp_path)) == "[-1]\n[2]\n"


def test_workers_print_nothing_when_the_consumer_fails(tmp_path: Path) -> None:
    text = (
        "from voxlake.engine.open import open_engine\nfrom voxlake.testing.engine_tasks import work_in\n"
        "with open_engine('processes:2') as engine:\n"
        "    for outcome in engine.map(work_in, [0.01] * 50):\n"
        "        raise SystemExit(3)\n"
    )
    done = run(script(tmp_path, text), cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
