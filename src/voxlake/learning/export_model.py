"""The verb models export: trained networks as ONNX files, for programs that know nothing of the lake."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from voxlake.core.digest import digest_bytes
from voxlake.core.errors import AlreadyExistsError, ItemError, UsageError
from voxlake.core.run import Run
from voxlake.engine.progress import progress_bar
from voxlake.lake.lake import Lake
from voxlake.lake.recorder import Recorder, start_run
from voxlake.learning.answering import answering
from voxlake.learning.model import Model, get_model
from voxlake.learning.model_files import find_model, model_path
from voxlake.learning.model_guide import guide
from voxlake.learning.model_release import LearnedFrom, learned_from
from voxlake.learning.model_signature import example_inputs, inputs_of, output_of
from voxlake.learning.objectives.make import read_objective
from voxlake.networks.onnx_export import export_onnx
from voxlake.networks.weights import write_atomically
from voxlake.privacy.release import ReleaseTerms

__all__ = ["models_export"]

_CARD = "card.json"
# What these networks answer hangs on what they draw: a file cannot hold that.
_DRAWING = {"masked_autoencoder"}


def models_export(
    lake: Lake,
    model: str,
    folder: str | Path,
    *,
    shape: str | Sequence[int] | None = None,
    release_identified: str | None = None,
    release_unchecked: str | None = None,
    progress: bool | None = None,
    metrics: str | Path | None = None,
) -> Run:
    """Write the networks of a trained model out of the lake, as ONNX files with a card.

    One file for each fold, whose output is what the lake says: probabilities, or numbers in their unit. What
    was exported is run and compared with the network before it is written. Beside it lie ``card.json``,
    ``plan.toml``, ``task.toml`` and ``how-to-use.md``, which name no image and no patient. Weights may
    remember what they learned from: a network leaves only if every image that it was trained or chosen on
    could leave, as for `export`.

    Parameters
    ----------
    lake : Lake
        The lake.
    model : str
        Identifier of the model, or the name of its task.
    folder : path
        Where the files go; made if it is not there. Of one model; networks that are there are not done again.
    shape : sequence of int, optional
        Of a segmentation: extent of the images that the files take, slices, rows and columns, or rows and
        columns, for example ``64,128,128``; that of the training if absent.
    release_identified : str, optional
        Why a network may leave that learned from objects that nobody de-identified (policy ``none``).
    release_unchecked : str, optional
        Why a network may leave that learned from pixels that nobody checked for burned-in text.
    progress : bool, optional
        Whether to show a progress bar; by default only on a terminal.
    metrics : path, optional
        File that says how the run goes, for Prometheus; written every few seconds.

    Returns
    -------
    Run
        Items are networks: written (stored), already there, or held back with a reason (rejected).

    Raises
    ------
    NotFoundError
        There is no such model.
    UsageError
        The model is no network, or one that ONNX cannot hold; outputs differ; what exports is not installed;
        the folder is a file or lies in the lake; the shape is none that the network takes.
    AlreadyExistsError
        The folder holds another model.
    SettingsError
        A reason is shorter than ten characters.

    Examples
    --------
    >>> models_export(lake, "pneumonia", "out/")  # doctest: +SKIP
    """
    terms = ReleaseTerms.read(
        {"identified": release_identified, "unchecked": release_unchecked}, where="the reasons for release"
    )
    found = _network_model(lake, model)
    extent = _extent(found, shape)
    place = Path(folder).expanduser().absolute()
    _check_place(lake, place)
    there = _there(place, found.model_id, extent or found.card["shape"])
    arguments = {"model": found.model_id, "shape": list(extent), "release": terms.model_dump()}
    with start_run(lake, "models export", arguments, metrics=metrics) as recorder:
        folds = range(int(found.row["folds"]))
        recorder.input_digest = found.model_id
        recorder.saw(len(folds))
        recorder.result["model"] = found.model_id
        job = _Export(found, learned_from(found, terms), extent, place)
        with progress_bar("export", len(folds), enabled=progress, counts=recorder.counts) as bar:
            for fold in folds:
                job.export(fold, there.get(fold), recorder)
                bar.advance()
        recorder.result |= {"networks": len(job.networks), "files": job.finish()}
    return recorder.run


class _Export:
    """One model on its way out."""

    def __init__(self, model: Model, learned: LearnedFrom, extent: Sequence[int], folder: Path) -> None:
        self.model = model
        self.learned = learned
        self.folder = folder
        self.inputs = inputs_of(model, learned.units, extent)
        self.networks: list[dict[str, Any]] = []
        self.output: dict[str, Any] = {}

    def export(self, fold: int, there: Mapping[str, Any] | None, recorder: Recorder) -> None:
        """Write the network of a fold, if it may leave and is not there; says what became of it."""
        item = f"{self.model.model_id}/fold-{fold}"
        try:
            self.learned.check(fold)
        except ItemError as error:
            recorder.outcome(item, "rejected", reason=error.reason, detail=error.message)
            return
        if there is not None:
            self.networks.append(dict(there["network"]))
            self.output = there["output"]
            recorder.outcome(item, "already", detail=there["network"]["file"])
            return
        one = self._write(fold)
        self.networks.append(one)
        recorder.outcome(item, "stored", detail=f"{one['file']} {one['sha256']}")

    def finish(self) -> int:
        """Write what goes with the networks, the card last; returns how many files there are."""
        if not self.networks:
            return 0
        model, card = self.model, self._card()
        for name in ("plan.toml", "task.toml"):
            write_atomically(self.folder / name, model.lake.objects.get(model_path(model.model_id, name)))
        write_atomically(self.folder / "how-to-use.md", guide(card).encode())
        write_atomically(self.folder / _CARD, json.dumps(card, indent=2).encode() + b"\n")
        return len(self.networks) + 4

    def _write(self, fold: int) -> dict[str, Any]:
        model = self.model
        network = self._answering(fold)
        example = example_inputs(self.inputs)
        weights, history = model.card["weights"][fold], model.card["history"][fold]
        metadata = {
            "model": model.model_id,
            "task": model.task.name,
            "fold": str(fold),
            "classes": json.dumps(model.classes),
            "weights_sha256": weights,
            "intended_use": str(model.card["intended_use"]),
        }
        data = export_onnx(
            network, example, names=[str(one["name"]) for one in self.inputs], metadata=metadata
        )
        with torch.inference_mode():
            self.output = output_of(model, network(*example).shape)
        write_atomically(self.folder / _file(fold), data)
        return {
            "fold": fold,
            "file": _file(fold),
            "sha256": digest_bytes(data),
            "weights_sha256": weights,
            "best_epoch": history["best_epoch"],
            "table": history.get("table"),
        }

    def _answering(self, fold: int) -> nn.Module:
        task, network = self.model.task, self.model.network(fold)
        if task.kind == "segmentation":
            return answering(network, None).eval()
        facts = self.model.card["history"][fold].get("objective", {})
        return answering(network, read_objective(task.kind, len(self.model.classes), facts)).eval()

    def _card(self) -> dict[str, Any]:
        model, row = self.model, self.model.row
        return {
            "model_id": model.model_id,
            "task": model.task.name,
            "task_kind": model.task.kind,
            "target": model.task.target_name,
            "classes": list(model.classes),
            "intended_use": model.card["intended_use"],
            "inputs": self.inputs,
            "output": self.output,
            "networks": self.networks,
            "variables": model.card.get("variables", []),
            "loss": model.card["history"][0].get("objective", {}).get("loss"),
            "samples": row["samples"],
            "parameters": row["parameters"],
            "task_digest": row["task_digest"],
            "plan_digest": row["plan_digest"],
            "split_digest": row["split_digest"],
            "code_version": model.card["code_version"],
            "exported_by": version("voxlake"),
        }


def _network_model(lake: Lake, name: str) -> Model:
    rows = lake.sql("select model_id, task, kind from models order by committed_at desc").dicts()
    row = find_model(rows, name, make="train")
    if row["kind"] == "table":
        raise UsageError(f"model '{row['task']}' was mined from a table; only networks are exported")
    model = get_model(lake, row["model_id"])
    if model.task.network_name in _DRAWING:
        raise UsageError(
            f"model '{model.task.name}' is a {model.task.network_name}: what it hides of an image is drawn "
            "at random, which an ONNX file cannot hold; its weights lie in the lake as safetensors"
        )
    return model


def _extent(model: Model, shape: str | Sequence[int] | None) -> tuple[int, ...]:
    if shape is None:
        return ()
    if model.task.kind != "segmentation":
        raise UsageError("'shape' is for networks that make masks; others take images of one shape only")
    axes, multiple = len(model.card["shape"]), int(model.task.segmentation.get("multiple", 8))
    try:
        wanted = tuple(int(size) for size in (shape.split(",") if isinstance(shape, str) else shape))
    except ValueError:
        wanted = ()
    if len(wanted) != axes or any(size < 1 or size % multiple for size in wanted):
        raise UsageError(f"shape = {shape}: this network takes {axes} extents, each a multiple of {multiple}")
    return wanted


def _check_place(lake: Lake, folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError("the place to export to is a file; name a folder")
    root = lake.objects.local_path("")
    if root is not None and folder.resolve().is_relative_to(root.resolve()):
        raise UsageError("the folder lies in the lake; export to one outside of it")


def _there(folder: Path, model_id: str, shape: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Networks that a folder holds already, whole and for the same shape, by their fold."""
    path = folder / _CARD
    if not path.is_file():
        return {}
    try:
        card = json.loads(path.read_text("utf-8"))
        same, space = card["model_id"] == model_id, card["inputs"][0]["shape"][-len(shape) :]
        networks = {int(one["fold"]): one for one in card["networks"]}
    except (ValueError, KeyError, TypeError, IndexError):
        same, space, networks = False, [], {}
    if not same:
        raise AlreadyExistsError("the folder holds another model, or another card.json; name another folder")
    if card["task_kind"] == "segmentation" and list(space) != list(shape):
        return {}
    return {
        fold: {"network": one, "output": card["output"]}
        for fold, one in networks.items()
        if _digest_of(folder / _file(fold)) == one["sha256"]
    }


def _file(fold: int) -> str:
    return f"fold-{fold}.onnx"


def _digest_of(path: Path) -> str | None:
    return digest_bytes(path.read_bytes()) if path.is_file() else None
