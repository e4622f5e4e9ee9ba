"""The page that goes with exported networks: for people who have neither the lake nor voxlake."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["guide"]

_LARGEST = "The most probable class is `numpy.asarray(classes)[mean.argmax(axis=1)]`."
_AFTER = {
    "classification": _LARGEST,
    "ordinal": _LARGEST,
    "multilabel": "A label is there where its probability is 0.5 or more.",
    "regression": "Each entry is the number itself; nothing is to be scaled back.",
    "reconstruction": (
        "The lake scores how unusual an image is by its error: `{error}` of each `y`, then the mean over "
        "the networks. Here, `mean` is the mean image."
    ),
    "segmentation": (
        "The label of every voxel is `mean.argmax(axis=1)`: 0 is the background, then the classes in their "
        "order. The file takes one extent only. Pad smaller volumes by repeating their edges, alike on both "
        "sides; cut larger ones into tiles that overlap and average their probabilities. `task.toml` says "
        "under `segmentation` how much the lake lets tiles overlap, and along which axes it also mirrors "
        "volumes."
    ),
}
_MIRROR = (
    "Where `task.toml` has a `mirror` that is not empty, the lake also shows each image mirrored along these "
    "axes, in every combination, and averages the answers."
)
_ERRORS = {
    "mse": "((y - x) ** 2).reshape(len(x), -1).mean(axis=1)",
    "l1": "abs(y - x).reshape(len(x), -1).mean(axis=1)",
}


def guide(card: Mapping[str, Any]) -> str:
    """Markdown that says how exported networks are used.

    Parameters
    ----------
    card : mapping
        The card that is written beside the networks; see `voxlake.learning.export_model.models_export`.
    """
    networks = card["networks"]
    files = "\n".join(
        f"| `{one['file']}` | `{one['sha256']}` | `{one['weights_sha256']}` |" for one in networks
    )
    inputs = "\n".join(_row(one) for one in card["inputs"])
    output = card["output"]
    classes = ", ".join(f"`{name}`" for name in output["classes"])
    target = f" of `{card['target']}`" if card["target"] else ""
    return f"""# How to use the networks of "{card["task"]}"

Task: {card["task_kind"]}{target}. Intended use: {card["intended_use"]}.

Model `{card["model_id"]}`, trained by voxlake {card["code_version"]} on {card["samples"]} samples,
exported by voxlake {card["exported_by"]}. The folder holds no image and names no patient.

| file | SHA-256 | SHA-256 of the weights in the lake |
| --- | --- | --- |
{files}

`plan.toml` says how images are prepared, `task.toml` how the networks were trained, `card.json` says what
this page says, for programs.

## Input

| name | axes | shape | type | values | unit |
| --- | --- | --- | --- | --- | --- |
{inputs}

Prepare images with exactly the steps of `plan.toml`, whose digest is `{card["plan_digest"]}`. A network that
is shown other values answers all the same, and wrongly.

## Output

| name | axes | shape | type | values |
| --- | --- | --- | --- | --- |
| {" | ".join(_cells(output))} |

{f"Classes, in the order of the output: {classes}." if classes else "There are no classes."}

## Run

```python
{_code(card)}
```

Each file is a network of one fold. The lake answers with the mean over all of them; the standard deviation
over them says how far they are apart. {_after(card)}
"""


def _row(one: Mapping[str, Any]) -> str:
    return f"| {' | '.join(_cells(one))} | {one['unit'] or '-'} |"


def _cells(one: Mapping[str, Any]) -> list[str]:
    return [f"`{one['name']}`", ", ".join(one["axes"]), _extent(one["shape"]), one["dtype"], one["values"]]


def _extent(shape: list[Any]) -> str:
    return " x ".join(str(extent) for extent in shape)


def _code(card: Mapping[str, Any]) -> str:
    names = [one["name"] for one in card["inputs"]]
    given = ", ".join(f'"{name}": {name}' for name in names)
    load = "\n".join(
        f'{one["name"]} = numpy.load("{one["name"]}.npy")  # {one["dtype"]}, {_extent(one["shape"])}'
        for one in card["inputs"]
    )
    files = ", ".join(f'"{one["file"]}"' for one in card["networks"])
    classes = f"\nclasses = {card['output']['classes']!r}" if card["output"]["classes"] else ""
    return f"""import numpy
import onnxruntime

{load}{classes}
answers = []
for file in [{files}]:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    answers.append(session.run(["y"], {{{given}}})[0])
mean = numpy.mean(answers, axis=0)"""


def _after(card: Mapping[str, Any]) -> str:
    text = _AFTER[card["task_kind"]]
    if card["task_kind"] == "segmentation":
        return text
    if card["task_kind"] == "reconstruction":
        text = text.format(error=_ERRORS[card["loss"]])
    return f"{text} {_MIRROR}"
