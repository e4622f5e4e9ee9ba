"""What the recipes reach on public data, run as a user runs them: ingest, select, prepare, train, evaluate.

Or, where a network that others trained looks at the images, with `embed` and `mine` in place of `train`.

    python benchmarks/networks/reach.py pneumoniamnist --data ../shared/data

The task is the one that ships (`voxlake recipe`). Its settings were chosen on training and validation parts.
The log keeps the task, the digest of the split, every epoch, the scores with their intervals and the time.
The official test part of PneumoniaMNIST, where there is one, is named with --official and scored once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Recipe:
    """Where the data of a recipe lie, and what is aimed at.

    Parameters
    ----------
    source : str
        Folder or file inside the data.
    cohorts : mapping of name to condition
        Of the recipe.
    aims : mapping of score to value
        At least.
    published : str
        What others reached.
    check : bool
        Whether near-duplicates are looked for.
    plain : tuple of str
        Cohorts of label volumes, which no plan changes.
    encoder : str
        Pre-trained encoder whose vectors are mined, in place of a training.
    plan : str
        Under which the images are prepared for it.
    """

    source: str
    cohorts: Mapping[str, str]
    aims: Mapping[str, float]
    published: str = ""
    check: bool = False
    plain: tuple[str, ...] = ()
    encoder: str = ""
    plan: str = ""


RECIPES = {
    "pneumoniamnist": Recipe(
        "pneumoniamnist/pneumoniamnist_trainval.npz",
        {"pneumoniamnist": "modality = 'DX'"},
        {"validation_roc_auc": 0.99},
        "test part: ResNet-18 AUC 0.944, accuracy 0.854; AutoKeras 0.947, 0.878; Google AutoML 0.991, 0.946",
    ),
    "chest_xray": Recipe("chest_xray_pneumonia", {"chest": "modality = 'DX'"}, {"roc_auc": 0.985}),
    "breast_ultrasound": Recipe(
        "breast_ultrasound_busi",
        {"breasts": "modality = 'US'"},
        {"roc_auc": 0.90},
        check=True,
        encoder="efficientnet-lite1",
        plan="ultrasound",
    ),
    "hippocampus": Recipe(
        "hippocampus_mri",
        {"hippocampus": "modality = 'MR'", "hippocampus-labels": "modality = 'OT'"},
        {"mean_dice_anterior": 0.89, "mean_dice_posterior": 0.87},
        "nnU-Net, on a GPU and other folds: Dice about 0.90 and 0.89",
        plain=("hippocampus-labels",),
    ),
    "lungs_in_xray": Recipe(
        "test_only/cxr_lung_masks",
        {"chests": "modality = 'DX'", "chest-masks": "modality = 'OT'"},
        {"mean_dice": 0.94},
        "Dice 0.95 to 0.97",
        plain=("chest-masks",),
    ),
    "xray_anomaly": Recipe("chest_xray_pneumonia", {"chest": "modality = 'DX'"}, {"roc_auc": 0.75}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=sorted(RECIPES))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--official", type=Path, help="npz file with the test part of PneumoniaMNIST")
    parser.add_argument("--lake", type=Path, help="keep the lake here")
    parser.add_argument("--epochs", type=int, help="instead of those of the recipe")
    parser.add_argument(
        "--rounds",
        type=int,
        default=1,
        help="so many seeds of the training, or of the folds that are mined, from 0",
    )
    given = parser.parse_args()
    sys.path.insert(0, str(HERE.parent))
    from harness import machine, save

    recipe = RECIPES[given.recipe]
    with tempfile.TemporaryDirectory() as folder:
        home = given.lake or Path(folder)
        lake = filled(home, given.recipe, recipe, source(home, given, recipe))
        runs = [
            mined(lake, given.recipe, seed) if recipe.encoder else one(lake, given.recipe, given.epochs, seed)
            for seed in range(given.rounds)
        ]
    results = {"machine": machine(), "published": recipe.published, "aims": dict(recipe.aims), "runs": runs}
    for run in runs:
        for name, aim in recipe.aims.items():
            print(given.recipe, name, run["scores"][name], "aim", aim, f"{run['seconds']:.0f} s")
    print(save(results, HERE, given.recipe.replace("_", "-")))


def source(home: Path, given: argparse.Namespace, recipe: Recipe) -> Path:
    """The folder to be ingested; arrays of pictures are written as files first."""
    found: Path = given.data / recipe.source
    if found.suffix != ".npz":
        return found
    pictures = home / "pictures"
    write_pictures(found, pictures)
    if given.official is not None:
        write_pictures(given.official, pictures, only="test")
    return pictures


def write_pictures(arrays: Path, folder: Path, *, only: str = "") -> None:
    """Write MedMNIST's arrays as <part>/<finding>/<number>.png."""
    import numpy as np
    from PIL import Image

    with np.load(arrays) as data:
        for part, name in (("train", "train"), ("validation", "val"), ("test", "test")):
            if f"{name}_images" not in data or (only and part != only):
                continue
            labels = data[f"{name}_labels"].ravel()
            for number, (picture, label) in enumerate(zip(data[f"{name}_images"], labels, strict=True)):
                path = folder / part / ("pneumonia" if label else "normal") / f"{number:05d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(path)


def filled(home: Path, name: str, recipe: Recipe, data: Path) -> Any:
    """A lake with the data of a recipe, prepared."""
    import voxlake as vl
    from voxlake.store.keys import LakeKey

    home.mkdir(parents=True, exist_ok=True)
    if not (home / "key").exists():
        # Folds are drawn by pseudonym, and these by the key: with one key a run can be repeated.
        LakeKey(bytes(range(32))).save(home / "key")
    copied = {Path(row["file"]).name: row["file"] for row in vl.recipe(name, tempfile.mkdtemp(dir=home))}
    lake = vl.open(home / "lake", key=home / "key")
    print(
        "ingest",
        vl.ingest(lake, data, mapping=copied["mapping.toml"], policy=copied.get("policy.toml")).balance(),
    )
    task_plan = recipe.plan or vl.load_task(copied["task.toml"]).load_plan()
    for cohort, condition in recipe.cohorts.items():
        selected = vl.select(lake, cohort, condition)
        plan = vl.Plan() if cohort in recipe.plain else task_plan
        print("prepare", cohort, vl.prepare(selected, plan=plan).balance())
    if recipe.check:
        print("check", vl.check(lake, next(iter(recipe.cohorts))).balance())
    if recipe.encoder:
        print("models import", vl.models_import(lake, recipe.encoder).balance())
        started = time.perf_counter()
        run = vl.embed(vl.get_cohort(lake, next(iter(recipe.cohorts))), model=recipe.encoder)
        print("embed", run.balance(), f"{time.perf_counter() - started:.0f} s")
    return lake


def mined(lake: Any, name: str, seed: int) -> dict[str, Any]:
    """Mine vectors, evaluate, and say what was chosen; the folds are drawn with the seed."""
    import voxlake as vl
    from voxlake.learning.mined import get_mined
    from voxlake.learning.mining import load_mining_task
    from voxlake.learning.recipe import recipe_file

    task = load_mining_task(recipe_file(name, "task.toml"))
    task = task.model_copy(update={"folds": task.folds.model_copy(update={"seed": seed})})
    started = time.perf_counter()
    run = vl.mine(lake, task, progress=True)
    seconds = time.perf_counter() - started
    print("mine", run.balance(), run.result["chosen"])
    model = get_mined(lake, run.result["model"])
    return {
        "seed": seed,
        "seconds": seconds,
        "counts": run.counts,
        "results": {part: model.card["results"][part] for part in ("importance", "audit")},
        "result": run.result,
        "scores": vl.evaluate(lake, run.result["model"]).result["scores"],
        "task": task.to_toml(),
    }


def one(lake: Any, name: str, epochs: int | None, seed: int) -> dict[str, Any]:
    """Train, evaluate, and say how it goes."""
    import voxlake as vl
    from voxlake.learning.model import get_model
    from voxlake.learning.recipe import recipe_file

    task = vl.load_task(recipe_file(name, "task.toml"))
    changes: dict[str, Any] = {"seed": seed} | ({} if epochs is None else {"epochs": epochs})
    task = task.model_copy(update={"training": task.training.model_copy(update=changes)})
    started = time.perf_counter()
    run = vl.train(lake, task, progress=True)
    seconds = time.perf_counter() - started
    print("train", run.balance(), run.reasons)
    model = get_model(lake, run.result["model"])
    for fold in model.card["history"]:
        for epoch in fold["epochs"]:
            figures = "  ".join(f"{figure} {value:.4f}" for figure, value in epoch["figures"].items())
            start = f"epoch {epoch['epoch']:3d}  train {epoch['train_loss']:.4f}"
            print(f"{start}  {figures}  {epoch['seconds']:.1f} s")
    return {
        "seed": seed,
        "seconds": seconds,
        "counts": run.counts,
        "reasons": run.reasons,
        "parameters": model.row["parameters"],
        "split_digest": model.row["split_digest"],
        "scores": scores_of(lake, model),
        "folds": model.card["history"],
        "task": task.to_toml(),
    }


def scores_of(lake: Any, model: Any) -> dict[str, Any]:
    """Scores of the test parts with their intervals, and figures of the best epoch on validation parts."""
    import voxlake as vl

    scores: dict[str, Any] = {}
    for number, fold in enumerate(model.card["history"]):
        best = fold["epochs"][fold["best_epoch"] - 1]["figures"]
        label = "validation" if len(model.card["history"]) == 1 else f"validation_{number}"
        scores |= {f"{label}_{figure}": value for figure, value in best.items()}
    tested = "select count(*) from predictions where model_id = $model and part = 'test'"
    if vl.sql(lake, tested, parameters={"model": model.model_id}).rows()[0][0]:
        scores |= vl.evaluate(lake, model.model_id).result["scores"]
    return scores


if __name__ == "__main__":
    main()
