"""What all benchmarks share: tools take turns, every round in a fresh process, median, raw numbers kept.

A benchmark describes each tool as a command that prints one line of JSON with at least ``seconds`` (what is
measured, without imports) and ``check`` (a digest or figures of the output, compared between the tools).
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["compare", "machine", "save"]

Equal = Callable[[Mapping[str, Any]], str]
"""Gets what each tool printed as ``check``; says how they agree, raises where they do not."""


def compare(
    tools: Mapping[str, Sequence[str]],
    *,
    equal: Equal,
    at_least: Mapping[str, float],
    ours: str = "voxlake",
    rounds: int = 5,
) -> dict[str, Any]:
    """Run every tool `rounds` times, in turns, and state how many times faster ours is.

    Parameters
    ----------
    tools : mapping of name to command
        One of them is `ours`.
    equal : callable
        Compares the outputs of the first round.
    at_least : mapping of peer to factor
        What is aimed at.
    """
    names = list(tools)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    stated: dict[str, Any] = {}
    for turn in range(rounds):
        # Every round starts with another tool, so that none always runs on the coldest or warmest machine.
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            found = _run(tools[name])
            seconds[name].append(found.pop("seconds"))
            stated.setdefault(name, found)
    agreement = equal({name: stated[name].pop("check") for name in names})
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return {
        "seconds": seconds,
        "median": medians,
        "times_faster": {name: round(medians[name] / medians[ours], 2) for name in names if name != ours},
        "aim": dict(at_least),
        "outputs": agreement,
        "stated": stated,
    }


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "processor": model,
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": os.getloadavg(),
    }


def save(results: Mapping[str, Any], folder: Path, name: str) -> Path:
    """Write raw numbers to ``folder/results/DATE-name.json``."""
    path = folder / "results" / f"{datetime.now(UTC):%Y-%m-%d}-{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
    return path


def _run(command: Sequence[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[:3]}: {done.stderr.strip()[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
