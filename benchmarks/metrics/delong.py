"""DeLong's comparison of two ROC curves on 100,000 cases: voxlake against the direct quadratic formula.

python benchmarks/metrics/delong.py [--rounds 5] [--cases 100000]

The formula compares every case with every control. It is worked out in blocks that stay in the cache, with
one comparison for wins and one for ties, and sums of the winners only.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CASES = 100_000
BLOCK = 32
TOLERANCE = 1e-9
AIM = {"quadratic": 50.0}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool", choices=("voxlake", "quadratic"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", type=int, default=CASES)
    given = parser.parse_args()
    if given.tool:
        print(json.dumps(measure(given.tool, given.cases)))
        return
    sys.path[:0] = [str(HERE.parent)]
    from harness import compare, machine, save

    commands = {
        tool: [sys.executable, __file__, "--tool", tool, "--cases", str(given.cases)]
        for tool in ("voxlake", "quadratic")
    }
    results = compare(commands, equal=equal, at_least=AIM, rounds=given.rounds)
    print(save({"machine": machine(), **results}, HERE, "delong"))
    print(json.dumps(results["times_faster"], indent=1))


def measure(tool: str, cases: int) -> dict[str, Any]:
    import numpy as np

    from voxlake.metrics.delong import delong_test

    random = np.random.default_rng(7)
    truth = random.integers(0, 2, cases)
    shared = random.normal(size=cases)
    # Three digits, as models print them: a score of 100,000 cases has ties.
    scores = [np.round(truth * apart + shared + random.normal(size=cases), 3) for apart in (1.0, 0.95)]
    delong_test(truth[:100], *(values[:100] for values in scores))
    start = time.process_time()
    if tool == "voxlake":
        test = delong_test(truth, *scores)
        found = {"first": test.first, "second": test.second, "z": test.z}
    else:
        found = quadratic(truth, scores)
    seconds = time.process_time() - start
    return {"seconds": seconds, "check": found, "cases": cases}


def quadratic(truth: Any, scores: list[Any]) -> dict[str, float]:
    """DeLong, DeLong and Clarke-Pearson (1988), equations 3 to 6."""
    import numpy as np

    of_cases, of_controls = [], []
    for values in scores:
        above, below = values[truth == 1], values[truth == 0]
        wins = np.zeros(below.size)
        rows = []
        for start in range(0, above.size, BLOCK):
            block = above[start : start + BLOCK, np.newaxis]
            # Wins count two and ties one, so that small whole numbers are summed.
            doubled = (block > below).view(np.uint8) + (block >= below).view(np.uint8)
            rows.append(doubled.sum(axis=1, dtype=np.uint32) / (2 * below.size))
            wins += doubled.sum(axis=0, dtype=np.uint8)
        of_cases.append(np.concatenate(rows))
        of_controls.append(wins / (2 * above.size))
    covariance = np.cov(of_cases) / of_cases[0].size + np.cov(of_controls) / of_controls[0].size
    first, second = (float(part.mean()) for part in of_cases)
    spread = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    return {"first": first, "second": second, "z": (first - second) / float(np.sqrt(spread))}


def equal(checks: Mapping[str, Any]) -> str:
    """Both areas and the test statistic must be the same."""
    one, other = checks.values()
    apart = max(abs(one[name] - other[name]) / max(1.0, abs(other[name])) for name in one)
    if apart > TOLERANCE:
        raise RuntimeError(f"the results differ by {apart}")
    return f"areas and z equal to {apart:.1e}"


if __name__ == "__main__":
    main()
