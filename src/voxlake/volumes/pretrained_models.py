"""The verbs models import and models list: pre-trained networks, from the user's own copy of their files."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxlake.core.digest import digest_bytes, digest_json
from voxlake.core.errors import NotFoundError
from voxlake.core.run import Run
from voxlake.lake.lake import Lake
from voxlake.lake.recorder import start_run
from voxlake.networks.known import KnownModel
from voxlake.networks.pretrained import PRETRAINED, convert, find_files, known_model, load_network
from voxlake.processing.registry import load_plan
from voxlake.store.objects import Objects

if TYPE_CHECKING:
    from voxlake.networks.meshnet_module import MeshNet

__all__ = ["models_import", "models_list", "stored_network"]

_WEIGHTS = "fold-0.safetensors"


def models_import(lake: Lake, folder: str | Path) -> Run:
    """Bring pre-trained networks into the lake from a folder with their files.

    Everything below the folder is looked through; files are known by the SHA-256 of their weights, whatever
    they are called. Weights become safetensors, and a card says source and licence. Nothing is downloaded.

    Parameters
    ----------
    lake : Lake
        The lake.
    folder : path
        For example a clone of https://github.com/neuroneural/brainchop.

    Returns
    -------
    Run
        Items are the networks that were found; ``result["models"]`` are their names.

    Raises
    ------
    NotFoundError
        There is no such folder, or it holds no network that is known.
    IntegrityError
        The topology beside known weights is that of another network.

    Examples
    --------
    >>> models_import(lake, "brainchop/public/models")  # doctest: +SKIP
    """
    place = Path(folder)
    if not place.is_dir():
        raise NotFoundError("no such folder of models; give one with the files of the makers")
    with start_run(lake, "models import", {"known": len(PRETRAINED)}) as recorder:
        there = {row[0] for row in lake.sql("select model_id from models").rows()}
        names: list[str] = []
        for model, topology, weights in find_files(place):
            recorder.saw()
            names.append(model.name)
            if model.model_id in there:
                recorder.outcome(model.name, "already")
                continue
            recorder.add("models", [_keep(lake.objects, model, convert(model, topology, weights))])
            recorder.outcome(model.name, "stored")
        if not names:
            raise NotFoundError(
                "the folder holds no network that is known; `voxlake models list` says where they are from"
            )
        recorder.input_digest = digest_json(sorted(PRETRAINED[name].sha256 for name in names))
        recorder.result["models"] = names
    return recorder.run


def models_list(lake: Lake) -> list[dict[str, Any]]:
    """List the pre-trained networks that are known, where they are from, and which are in the lake.

    Parameters
    ----------
    lake : Lake
        The lake.

    Returns
    -------
    list of dict
        One for each, with name, summary, number of labels, imported, licence and source.

    Examples
    --------
    >>> models_list(lake)  # doctest: +SKIP
    """
    there = {row[0] for row in lake.sql("select model_id from models").rows()}
    return [
        {
            "name": model.name,
            "summary": model.summary,
            "labels": len(model.labels),
            "imported": model.model_id in there,
            "licence": model.licence,
            "source": model.source.removeprefix("https://").split()[0],
        }
        for model in PRETRAINED.values()
    ]


def stored_network(objects: Objects, name: str) -> MeshNet:
    """Build a pre-trained network with the weights that a lake holds, checked against their digest.

    Raises
    ------
    NotFoundError
        There is no such network, or it was not imported.
    IntegrityError
        The stored weights are not those that were imported.
    """
    model = known_model(name)
    folder = f"models/{model.model_id}"
    if not objects.exists(f"{folder}/card.json"):
        raise NotFoundError(
            f"the weights of '{name}' are not in this lake; run `voxlake models import FOLDER` with "
            f"a copy of {model.folder} of {model.source}"
        )
    card = json.loads(objects.get(f"{folder}/card.json"))
    return load_network(model, objects.get(f"{folder}/{_WEIGHTS}"), sha256=card["weights"][0])


def _keep(objects: Objects, model: KnownModel, weights: bytes) -> dict[str, Any]:
    """Put the files of a network into the lake, the card last; returns its row."""
    folder = f"models/{model.model_id}"
    plan = load_plan(model.plan)
    objects.put(f"{folder}/{_WEIGHTS}", weights)
    objects.put(f"{folder}/plan.toml", plan.to_toml().encode())
    objects.put(f"{folder}/card.json", json.dumps(_card(model, weights)).encode())
    network = load_network(model, weights, sha256=digest_bytes(weights))
    return {
        "model_id": model.model_id,
        "kind": "network",
        "task": model.name,
        "task_kind": "segmentation",
        "plan_digest": plan.digest(),
        "classes": ["background", *(label.name for label in model.labels)],
        "folds": 1,
        "parameters": sum(tensor.numel() for tensor in network.parameters()),
    }


def _card(model: KnownModel, weights: bytes) -> dict[str, Any]:
    return {
        "name": model.name,
        "summary": model.summary,
        "source": model.source,
        "folder": model.folder,
        "licence": model.licence,
        "modality": model.modality,
        "facts": dict(model.facts()),
        "labels": [
            {
                "value": label.value,
                "name": label.name,
                "code": None if label.code is None else list(label.code),
            }
            for label in model.labels
        ],
        "weights": [digest_bytes(weights)],
        "intended_use": "research; not a medical device",
        "code_version": version("voxlake"),
    }
