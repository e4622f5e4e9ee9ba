"""How far vectors of pre-trained encoders go, with everything that could be chosen chosen inside the folds.

    python benchmarks/networks/vectors.py --data ../shared/data

Breast ultrasound: in each outer fold, inner folds of its training part choose the encoder, which statistics
of its channels, and the penalty of a logistic regression, by log loss; the outer test part is scored once.
Chest X-rays: the task of the recipe `breast_ultrasound` with vectors of EfficientNet-Lite1, by patient.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
ENCODERS = ("efficientnet-lite0", "efficientnet-lite1")
# Means, largest values and deviations, in this order for each stage.
STATISTICS = {"mean": (0,), "mean, largest": (0, 1), "mean, deviation": (0, 2), "all": (0, 1, 2)}
PENALTIES = (1e-3, 1e-2, 1e-1)
ROUNDS = 3
CHEST_PLAN = """
[[steps]]
step = "grayscale"

[[steps]]
step = "resize"
shape = [1, 256, 256]

[[steps]]
step = "percentile"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    given = parser.parse_args()
    sys.path.insert(0, str(HERE.parent))
    from harness import machine, save

    with tempfile.TemporaryDirectory() as folder:
        results = {
            "machine": machine(),
            "breast_ultrasound": chosen_inside(Path(folder) / "breasts", given.data),
            "chest_xray": of_chests(Path(folder) / "chests", given.data),
        }
    print(save(results, HERE, "vectors"))


def lake_of(home: Path, recipe: str, data: Path, plan: str, encoders: tuple[str, ...]) -> tuple[Any, Any]:
    """A lake and its cohort, with vectors of each encoder."""
    import voxlake as vl
    from voxlake.store.keys import LakeKey

    home.mkdir(parents=True)
    LakeKey(bytes(range(32))).save(home / "key")
    copied = {Path(row["file"]).name: row["file"] for row in vl.recipe(recipe, home)}
    lake = vl.open(home / "lake", key=home / "key")
    vl.ingest(lake, data, mapping=copied["mapping.toml"], policy=copied["policy.toml"])
    cohort = vl.select(lake, "pictures")
    vl.prepare(cohort, plan=plan)
    vl.check(lake, "pictures")
    for name in encoders:
        vl.models_import(lake, name)
        started = time.perf_counter()
        print(vl.embed(cohort, model=name).balance(), name, f"{time.perf_counter() - started:.0f} s")
    return lake, cohort


def task_of(encoder: str, *more: str) -> Any:
    """The task of the recipe, for other pictures or another encoder."""
    from voxlake.learning.mining import load_mining_task
    from voxlake.learning.recipe import recipe_file

    text = recipe_file("breast_ultrasound", "task.toml").replace('"breasts"', '"pictures"')
    text = text.replace('name = "efficientnet-lite1"', f'name = "{encoder}"')
    for old, new in zip(more[::2], more[1::2], strict=True):
        text = text.replace(old, new)
    return load_mining_task(text)


def chosen_inside(home: Path, data: Path) -> list[dict[str, Any]]:
    """Rounds of nested folds over breast ultrasound."""
    from sklearn.model_selection import StratifiedGroupKFold

    from voxlake.learning.tables.gather import gather_table

    lake, cohort = lake_of(home, "breast_ultrasound", data / "breast_ultrasound_busi", "ultrasound", ENCODERS)
    tables = {name: gather_table(lake, task_of(name), cohort) for name in ENCODERS}
    first = tables[ENCODERS[0]]
    classes = sorted(set(first.target.values))
    truth = np.array([classes.index(one) for one in first.target.values])
    groups = np.array(first.groups)
    views = {
        (name, which): _matrix(tables[name], kept)
        for name, (which, kept) in product(ENCODERS, STATISTICS.items())
    }
    rounds = []
    for seed in range(ROUNDS):
        said, picked = np.zeros((len(truth), len(classes))), []
        outer = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        for train, test in outer.split(truth, truth, groups):
            best = _best(views, truth, groups, train)
            said[test] = _fit(views[best[0]], best[1], truth, train, test)
            picked.append([*best[0], best[1]])
        rounds.append({"seed": seed, "roc_auc": _macro(truth, said), "chosen": picked})
        print(rounds[-1])
    return rounds


def of_chests(home: Path, data: Path) -> dict[str, Any]:
    """Pneumonia or not, by patient."""
    import voxlake as vl

    lake, _ = lake_of(home, "chest_xray", data / "chest_xray_pneumonia", CHEST_PLAN, ENCODERS[1:])
    task = task_of(ENCODERS[1], 'classes = ["normal", "benign", "malignant"]', 'positive = "PNEUMONIA"')
    started = time.perf_counter()
    run = vl.mine(lake, task)
    seconds = time.perf_counter() - started
    found = {
        "seconds": seconds,
        "result": run.result,
        "scores": vl.evaluate(lake, task.name).result["scores"],
    }
    print(found["scores"]["roc_auc"], f"{seconds:.0f} s")
    return found


def _matrix(table: Any, kept: tuple[int, ...]) -> Any:
    from voxlake.networks.pretrained_encoders import known_encoder

    name = next(one.name for one in table.inputs if one.source == "embeddings").rpartition(".")[0]
    kinds = np.concatenate([np.repeat((0, 1, 2), width) for width in known_encoder(name).network.widths])
    values = np.column_stack([one.values for one in table.inputs if one.source == "embeddings"])
    return values[:, np.isin(kinds, kept)]


def _best(views: Any, truth: Any, groups: Any, train: Any) -> tuple[Any, float]:
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedGroupKFold

    inner = list(
        StratifiedGroupKFold(3, shuffle=True, random_state=9).split(train, truth[train], groups[train])
    )
    losses = {}
    for view, penalty in product(views, PENALTIES):
        said = np.zeros((len(train), truth.max() + 1))
        for fit, judge in inner:
            said[judge] = _fit(views[view], penalty, truth, train[fit], train[judge])
        losses[view, penalty] = log_loss(truth[train], said)
    return min(losses, key=lambda one: losses[one])


def _fit(values: Any, penalty: float, truth: Any, train: Any, test: Any) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=500))
    return model.fit(values[train], truth[train]).predict_proba(values[test])


def _macro(truth: Any, said: Any) -> float:
    from sklearn.metrics import roc_auc_score

    return float(np.mean([roc_auc_score(truth == one, said[:, one]) for one in range(said.shape[1])]))


if __name__ == "__main__":
    main()
