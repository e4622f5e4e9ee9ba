"""What exported networks take and give: names, shapes, axes, types, units, in plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from voxlake.learning.model import Model

__all__ = ["example_inputs", "inputs_of", "output_of"]

_SPACE = {2: ("row", "column"), 3: ("slice", "row", "column")}
_GIVES = {
    "classification": "probability of each class; each row sums to 1",
    "ordinal": "probability of each class, in their order; each row sums to 1",
    "multilabel": "probability of each label by itself; rows need not sum to 1",
    "regression": "the number, in the unit of the target",
    "reconstruction": "the image as the network gives it back, in the unit of the input",
    "segmentation": "probability of each class, for every voxel; sums to 1 over the classes",
}


def inputs_of(model: Model, units: Sequence[str], extent: Sequence[int] = ()) -> list[dict[str, Any]]:
    """What a network of a model takes, in the order of the file.

    Parameters
    ----------
    model : Model
        The model.
    units : sequence of str
        Of the values of what it learned from.
    extent : sequence of int
        Of the images, where it is another one than in training.

    Returns
    -------
    list of dict
        With ``name``, ``axes``, ``shape`` (the batch is free: ``"batch"``), ``dtype``, ``values`` in words,
        and ``unit``, None where there is none.
    """
    shape = [int(size) for size in extent or model.card["shape"]]
    channels = int(model.card["channels"])
    unit = ", ".join(units) or None
    takes = model.task.takes
    if takes == "table":
        return [_table("x", channels)]
    if takes == "sequence":
        steps, *space = shape
        axes = ["batch", "step", "channel", *_SPACE[len(space)]]
        return [
            _input(
                "x", axes, ["batch", steps, channels, *space], unit, "steps as plan.toml makes them, then 0"
            ),
            {
                "name": "lengths",
                "axes": ["batch"],
                "shape": ["batch"],
                "dtype": "int64",
                "unit": None,
                "values": f"how many steps there are, from 1 to {steps}",
            },
        ]
    axes = ["batch", "channel", *_SPACE[len(shape)]]
    image = _input("x", axes, ["batch", channels, *shape], unit, "images as plan.toml makes them")
    return [image, _table("table", int(model.card["columns"]))] if takes == "image and table" else [image]


def output_of(model: Model, shape: Sequence[int]) -> dict[str, Any]:
    """What a network of a model gives, as `inputs_of` says what it takes; with the names of its classes.

    Parameters
    ----------
    model : Model
        The model.
    shape : sequence of int
        Of an answer to a batch.
    """
    kind = model.task.kind
    axes = ["batch"]
    if kind in ("classification", "ordinal", "multilabel", "segmentation"):
        axes.append("label" if kind == "multilabel" else "class")
    elif kind == "reconstruction":
        axes.append("channel")
    if kind in ("segmentation", "reconstruction"):
        axes += _SPACE[len(model.card["shape"])]
    return {
        "name": "y",
        "axes": axes,
        "shape": ["batch", *(int(extent) for extent in shape[1:])],
        "dtype": "float32",
        "values": _GIVES[kind],
        "classes": [] if kind == "reconstruction" else list(model.classes),
    }


def example_inputs(inputs: Sequence[dict[str, Any]], *, batch: int = 2, seed: int = 0) -> tuple[Tensor, ...]:
    """A batch of noise that a network takes; sequences have different lengths."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for one in inputs:
        extent = (batch, *one["shape"][1:])
        if one["name"] == "lengths":
            steps = int(inputs[0]["shape"][1])
            made.append(torch.tensor([max(1, steps - place) for place in range(batch)], dtype=torch.int64))
        else:
            made.append(torch.randn(extent, generator=generator))
    return tuple(made)


def _input(name: str, axes: list[str], shape: list[Any], unit: str | None, values: str) -> dict[str, Any]:
    return {"name": name, "axes": axes, "shape": shape, "dtype": "float32", "unit": unit, "values": values}


def _table(name: str, columns: int) -> dict[str, Any]:
    values = "columns of 'variables' of card.json, made numbers by the 'table' of the network"
    return _input(name, ["batch", "column"], ["batch", columns], None, values)
