"""The section that shows which parts of an image a network looked at, and whether that can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import UsageError
from voxlake.evaluation.parts import Example, Section, Table
from voxlake.evaluation.scored import Scored
from voxlake.evaluation.slices import picture
from voxlake.evaluation.subjects import volumes_of
from voxlake.volumes.read import read_values

__all__ = ["SaliencyMethod", "describe_saliency", "heated", "saliency_section"]

SaliencyMethod = Literal["none", "grad-cam", "occlusion", "integrated-gradients"]

_SHOWN = 8
_LOOKED_AT = 64
# Told apart with every kind of colour vision (Okabe and Ito, 2008): for the class, and against it.
_FOR, _AGAINST = (230, 159, 0), (0, 114, 178)
_OPACITY = 0.7
_NAMES = {
    "grad-cam": (
        "Grad-CAM (Selvaraju et al., 2017) weighs the feature maps of the last convolution by how much the "
        "answer depends on them."
    ),
    "occlusion": (
        "Occlusion (Zeiler and Fergus, 2014) covers patches of the image and shows how much the answer loses."
    ),
    "integrated-gradients": (
        "Integrated gradients (Sundararajan et al., 2017) add up how the answer changes on the way from an "
        "even image to this one."
    ),
}


def describe_saliency(scored: Scored, method: str) -> Section:
    """Maps of mistakes and correct answers, at most 8 in all, each by a network that had not seen the image.

    Parameters
    ----------
    scored : Scored
        Predictions of a network that takes images.
    method : {"grad-cam", "occlusion", "integrated-gradients"}
        How.

    Raises
    ------
    UsageError
        The model takes no images, or none of what it said has a prepared image.
    """
    # torch is an extra, and slow to load: a report without saliency needs none of it
    from voxlake.learning.explain import explain

    model = scored.model
    if model.is_table:
        raise UsageError("saliency is of networks; a model of tables says by itself which variables count")
    chosen, rows = _chosen(scored)
    if not chosen:
        raise UsageError("no image of what the model said is prepared any more; leave saliency out")
    called = [int(scored.called[one]) for one in chosen]
    folds = [int(scored.folds[one]) for one in chosen]
    found = explain(model.lake, model.model_id, rows, called, folds, method=method)
    examples = [
        _example(scored, number, row, values, one)
        for number, row, values, one in zip(
            chosen, rows, read_values(model.lake, rows), found.maps, strict=True
        )
    ]
    stages = [(stage.layers, stage.deepest, stage.correlation) for stage in found.check.stages]
    return saliency_section(method, examples, stages, limit=found.check.limit, passed=found.check.passed)


def saliency_section(
    method: str,
    examples: Sequence[Example],
    stages: Sequence[tuple[int, str, float]],
    *,
    limit: float,
    passed: bool,
) -> Section:
    """The section, from pictures and the figures of the check.

    Parameters
    ----------
    method : str
        Name of the method.
    examples : sequence of Example
        Pictures with the map over them.
    stages : sequence of (layers, deepest, correlation)
        Layers with random weights, the name of the last one, rank correlation with the maps of the network.
    limit : float
        Correlation above which the maps do not depend on what was learned.
    passed : bool
        Whether they depend on it.
    """
    verdict = (
        "The maps depend on what the network has learned: with random weights they are others "
        f"(rank correlation {stages[-1][2]:.2f}, below {limit:g} is asked for)."
        if passed
        else "These maps must not be believed: a network with random weights gives nearly the same ones "
        f"(rank correlation {stages[-1][2]:.2f}, below {limit:g} is asked for). They show the image, "
        "not what was learned."
    )
    table = Table(
        "Sanity check: weights are made random from the answer down, and the maps compared",
        ("Random layers", "Down to", "Rank correlation"),
        # To two digits, for the last ones depend on the machine.
        tuple((str(layers), deepest, round(correlation, 2)) for layers, deepest, correlation in stages),
        note="Adebayo et al., 2018. A map of what was learned falls towards 0 from the top to the last row.",
    )
    words = (
        f"{_NAMES[method]} Orange speaks for the class that the model decided for, blue against it.",
        "Each picture has its own scale.",
        verdict,
        "A map shows what an answer rests on, and not whether that is right.",
    )
    return Section(
        anchor="saliency",
        heading="What the answers rest on",
        words=words,
        tables=(table,),
        pictures=tuple(examples),
    )


def heated(image: NDArray[np.uint8], heat: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Lay a map over a picture: orange where it is positive, blue where it is negative.

    Parameters
    ----------
    image : ndarray of uint8
        (rows, columns) or (rows, columns, 3).
    heat : ndarray
        (rows, columns) of any extent; brought to that of the picture, and to its largest size.

    Returns
    -------
    ndarray of uint8
        (rows, columns, 3).
    """
    colour = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    at = [
        ((np.arange(size) + 0.5) * other / size).astype(np.intp)
        for size, other in zip(colour.shape[:2], heat.shape, strict=True)
    ]
    shown = np.asarray(heat, dtype=np.float64)[np.ix_(*at)]
    largest = float(np.abs(shown).max())
    strength = shown / largest if largest > 0 else np.zeros_like(shown)
    towards = np.where(strength[..., None] > 0, np.asarray(_FOR), np.asarray(_AGAINST))
    opacity = _OPACITY * np.abs(strength)[..., None]
    return np.asarray((colour + (towards - colour) * opacity).round(), dtype=np.uint8)


def _chosen(scored: Scored) -> tuple[list[int], list[dict[str, Any]]]:
    """Positions of up to 4 confident mistakes, and of confident correct answers to make up 8."""
    called = scored.called
    certainty = scored.probabilities[np.arange(len(called)), called]
    order = [int(number) for number in np.argsort(-certainty, kind="stable")]
    wrong = [number for number in order if called[number] != scored.truth[number]]
    right = [number for number in order if called[number] == scored.truth[number]]
    share = -(-_SHOWN // len(scored.model.classes))
    balanced = [
        number
        for place in range(len(scored.model.classes))
        for number in [one for one in right if scored.truth[one] == place][:share]
    ]
    looked_at = wrong[:_LOOKED_AT] + balanced
    found = volumes_of(
        scored.model.lake, scored.model.level, [scored.subjects[number] for number in looked_at]
    )
    there = [number for number in looked_at if scored.subjects[number] in found]
    mistakes = [number for number in there if number in wrong][: _SHOWN // 2]
    chosen = mistakes + [number for number in there if number not in wrong][: _SHOWN - len(mistakes)]
    return chosen, [found[scored.subjects[number]] for number in chosen]


def _example(
    scored: Scored, number: int, row: dict[str, Any], values: NDArray[Any], heat: NDArray[np.float32]
) -> Example:
    classes = scored.model.classes
    # The slice where most is said; of a flat image the only one.
    at = int(np.abs(heat).reshape(len(heat), -1).sum(axis=1).argmax())
    several = row["shape"][0] > 1
    return Example(
        image=heated(picture(values[at : at + 1] if several else values), heat[at]),
        identifier=row["volume_id"][:12],
        truth=classes[scored.truth[number]],
        predicted=classes[scored.called[number]],
        note=f"slice {at + 1} of {row['shape'][0]}" if several else "",
    )
