"""Bootstrap of ten metrics over patients: voxlake against a NumPy loop over scikit-learn's metrics.

python benchmarks/metrics/bootstrap.py [--rounds 5] [--draws 2000]

Both sides get the same drawn patients; drawing them is inside the clock of voxlake only.
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
CASES, IMAGES = 5000, 2
TOLERANCE = 1e-9
AIM = {"scikit-learn": 20.0}
NAMES = (
    "roc_auc",
    "average_precision",
    "accuracy",
    "balanced_accuracy",
    "recall",
    "specificity",
    "precision",
    "f1",
    "matthews_corrcoef",
    "brier_score",
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool", choices=("voxlake", "scikit-learn"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--draws", type=int, default=2000)
    given = parser.parse_args()
    if given.tool:
        print(json.dumps(measure(given.tool, given.draws)))
        return
    sys.path[:0] = [str(HERE.parent)]
    from harness import compare, machine, save

    commands = {
        tool: [sys.executable, __file__, "--tool", tool, "--draws", str(given.draws)]
        for tool in ("voxlake", "scikit-learn")
    }
    results = compare(commands, equal=equal, at_least=AIM, rounds=given.rounds)
    print(save({"machine": machine(), "draws": given.draws, **results}, HERE, "bootstrap"))
    print(json.dumps(results["times_faster"], indent=1))


def measure(tool: str, draws: int) -> dict[str, Any]:
    import numpy as np

    random = np.random.default_rng(7)
    groups = np.repeat(np.arange(CASES // IMAGES), IMAGES)
    truth = (random.random(CASES // IMAGES) < 0.3)[groups].astype(int)
    noise = random.normal(size=CASES // IMAGES)[groups] + random.normal(size=CASES)
    probability = 1 / (1 + np.exp(0.8 - 1.5 * truth - noise))
    run = ours if tool == "voxlake" else theirs
    run(truth, probability, groups, 2)
    found, seconds = run(truth, probability, groups, draws)
    return {"seconds": seconds, "check": found, "cases": CASES, "images_per_patient": IMAGES}


def ours(truth: Any, probability: Any, groups: Any, draws: int) -> tuple[dict[str, Any], float]:
    from voxlake.metrics.summary import binary_estimates

    start = time.process_time()
    found = binary_estimates(truth, probability, groups=groups, replicates=draws)
    seconds = time.process_time() - start
    return {each.name: [each.low, each.high] for each in found if each.name in NAMES}, seconds


def theirs(truth: Any, probability: Any, groups: Any, draws: int) -> tuple[dict[str, Any], float]:
    import numpy as np
    from sklearn import config_context, metrics

    from voxlake.metrics.bootstrap import group_weights

    blocks = group_weights(truth, groups, replicates=draws, seed=0)
    drawn = [np.repeat(np.arange(CASES), row.astype(int)) for block in blocks for row in block]
    called = (probability >= 0.5).astype(int)
    rows = []
    start = time.process_time()
    # The fastest settings: no checks of values or of parameters.
    with config_context(assume_finite=True, skip_parameter_validation=True):
        for places in drawn:
            outcome, certain, call = truth[places], probability[places], called[places]
            rows.append(
                (
                    metrics.roc_auc_score(outcome, certain),
                    metrics.average_precision_score(outcome, certain),
                    metrics.accuracy_score(outcome, call),
                    metrics.balanced_accuracy_score(outcome, call),
                    metrics.recall_score(outcome, call),
                    metrics.recall_score(outcome, call, pos_label=0),
                    metrics.precision_score(outcome, call),
                    metrics.f1_score(outcome, call),
                    metrics.matthews_corrcoef(outcome, call),
                    metrics.brier_score_loss(outcome, certain),
                )
            )
    ends = np.quantile(np.array(rows), (0.025, 0.975), axis=0)
    seconds = time.process_time() - start
    return dict(zip(NAMES, ends.T.tolist(), strict=True)), seconds


def equal(checks: Mapping[str, Any]) -> str:
    """Both ends of all ten intervals must be the same."""
    one, other = checks.values()
    apart = max(abs(a - b) for name in NAMES for a, b in zip(one[name], other[name], strict=True))
    if apart > TOLERANCE:
        raise RuntimeError(f"the intervals differ by up to {apart}")
    return f"both ends of ten intervals equal to {apart:.1e}"


if __name__ == "__main__":
    main()
