"""Run one fuzz target for some time and say in one line what came of it."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from seeds import TARGETS, fill

_HERE = Path(__file__).parent
# Bytes of one input, seconds for one input, MB of resident memory.
_LONGEST, _TIMEOUT, _MEMORY = 16_384, 10, 2048


def main() -> int:
    """Run; the exit status is 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--corpus", type=Path, default=Path("/tmp/voxlake-fuzz"))  # noqa: S108 - overridable
    parser.add_argument("--data", type=Path, default=_HERE.parents[1] / "shared" / "data")
    arguments = parser.parse_args()
    corpus = arguments.corpus / arguments.target
    crashes = arguments.corpus / f"{arguments.target}-crashes"
    crashes.mkdir(parents=True, exist_ok=True)
    seeds = fill(arguments.target, corpus, arguments.data)
    before = set(crashes.iterdir())
    log = arguments.corpus / f"{arguments.target}.log"
    command = [
        sys.executable,
        str(_HERE / f"fuzz_{arguments.target}.py"),
        str(corpus),
        f"-max_total_time={arguments.seconds}",
        f"-max_len={_LONGEST}",
        f"-timeout={_TIMEOUT}",
        f"-rss_limit_mb={_MEMORY}",
        f"-artifact_prefix={crashes}/",
        "-print_final_stats=1",
    ]
    with log.open("wb") as file:
        status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    text = log.read_text(encoding="utf-8", errors="replace")
    figures = dict(re.findall(r"stat::(\w+):\s+(\d+)", text))
    new = sorted(path.name for path in set(crashes.iterdir()) - before)
    executions = int(figures.get("number_of_executed_units", 0))
    sys.stdout.write(
        f"{arguments.target}: {seeds} seeds, {executions:,} executions, "
        f"{executions / max(1, arguments.seconds):,.0f} per second, "
        f"peak {figures.get('peak_rss_mb', '?')} MB, {len(new)} new findings, exit status {status}\n"
    )
    for name in new:
        sys.stdout.write(f"  {crashes / name}\n")
    return int(bool(new) or status != 0)


if __name__ == "__main__":
    sys.exit(main())
