"""Segment the hippocampus in a lake, as a user does it: ingest, prepare, train one fold, evaluate.

The recipe is `voxlake/learning/recipes/hippocampus.toml`. Patients are dealt out to five folds with seed 0;
the first one is tested once, by the network that was chosen on the validation part. The log holds the recipe,
the digest of the split, every epoch, and the scores with their intervals.

Dice 0.90 and 0.89 are published for nnU-Net, trained for hours on a GPU on other folds of 260 volumes.

    python benchmarks/networks/hippocampus.py --data ../shared/data [--lake FOLDER] [--epochs N]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PUBLISHED = {"anterior": 0.90, "posterior": 0.89}
AIMS = {"anterior": 0.89, "posterior": 0.87}
MAPPING = r"""
unmatched = "ignore"

[[rules]]
pattern = 'images/(?P<patient>hippocampus_\d+)\.nii'
modality = "MR"
body_part = "BRAIN"

[[rules]]
pattern = 'labels/(?P<patient>hippocampus_\d+)\.nii'
modality = "OT"
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--lake", type=Path)
    parser.add_argument("--epochs", type=int, help="instead of those of the recipe")
    parser.add_argument(
        "--rounds", type=int, default=1, help="other seeds of the training, one after the other"
    )
    given = parser.parse_args()
    sys.path.insert(0, str(HERE.parent))
    from harness import machine, save

    with tempfile.TemporaryDirectory() as folder:
        lake = open_filled(given.lake or Path(folder) / "lake", given.data / "hippocampus_mri")
        runs = [one(lake, given.epochs, seed) for seed in range(given.rounds)]
    print(
        save({"machine": machine(), "published": PUBLISHED, "aim": AIMS, "runs": runs}, HERE, "hippocampus")
    )


def open_filled(folder: Path, data: Path) -> Any:
    """A lake with the images and their label volumes."""
    from voxlake.core.plan import Plan
    from voxlake.lake.cohorts import select
    from voxlake.lake.ingest import ingest
    from voxlake.lake.lake import open_lake
    from voxlake.volumes.prepare import prepare

    folder.mkdir(parents=True, exist_ok=True)
    mapping = folder.parent / "mapping.toml"
    mapping.write_text(MAPPING)
    lake = open_lake(folder, key=folder.parent / "key")
    print("ingest", ingest(lake, data, mapping=mapping).balance())
    images = select(lake, "hippocampus", "modality = 'MR'")
    labels = select(lake, "hippocampus-labels", "modality = 'OT'")
    print("prepare", prepare(images, plan=task().load_plan()).balance())
    print("prepare", prepare(labels, plan=Plan()).balance())
    return lake


def task() -> Any:
    """The recipe as it ships."""
    from voxlake.learning.task import load_task

    return load_task((files("voxlake.learning") / "recipes" / "hippocampus.toml").read_text())


def one(lake: Any, epochs: int | None, seed: int) -> dict[str, Any]:
    """Train, evaluate, and print how it goes."""
    from voxlake.evaluation.evaluate import evaluate
    from voxlake.learning.model import get_model
    from voxlake.learning.train import train

    recipe = task()
    changes: dict[str, Any] = {"seed": seed} | ({} if epochs is None else {"epochs": epochs})
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update=changes)})
    started = time.perf_counter()
    run = train(lake, recipe, progress=True)
    seconds = time.perf_counter() - started
    model = get_model(lake, run.result["model"])
    course = model.card["history"][0]
    for epoch in course["epochs"]:
        figures = "  ".join(f"{name} {value:.4f}" for name, value in epoch["figures"].items())
        print(
            f"epoch {epoch['epoch']:3d}  train {epoch['train_loss']:.4f}  {figures}  {epoch['seconds']:.0f} s"
        )
    scores = evaluate(lake, model.model_id).result["scores"]
    for name, aim in AIMS.items():
        print(name, scores[f"mean_dice_{name}"], "published", PUBLISHED[name], "aim", aim)
    return {
        "seed": seed,
        "seconds_of_training": course["seconds"],
        "seconds_in_all": seconds,
        "best_epoch": course["best_epoch"],
        "parameters": model.row["parameters"],
        "split_digest": model.row["split_digest"],
        "scores": scores,
        "epochs": course["epochs"],
        "task": recipe.to_toml(),
    }


if __name__ == "__main__":
    main()
