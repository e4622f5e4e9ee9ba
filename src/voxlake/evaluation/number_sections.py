"""Sections of a report about predicted numbers and risks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voxlake.evaluation.content import Guide, Plot, Section, Table, Trace
from voxlake.evaluation.kaplan_meier import kaplan_meier
from voxlake.evaluation.numbers import Numbers
from voxlake.metrics.bland_altman import bland_altman

__all__ = ["describe_agreement", "describe_risk", "worst_numbers"]

_WORST = 10
_REPEATED = (
    "Some {unit} have several samples. The bias gives all {unit} the same weight, however many samples one "
    "has, so that it can differ from the mean error over samples; the limits are those of a single sample, "
    "made of the variance between {unit} and within them."
)
_THIRDS = ("low", "middle", "high")


def describe_agreement(numbers: Numbers) -> Section:
    """Predicted against true, and their differences with limits of agreement (Bland and Altman)."""
    found = bland_altman(numbers.value, numbers.truth, groups=numbers.groups)
    both = np.concatenate((numbers.value, numbers.truth))
    low, high = float(both.min()), float(both.max())
    room = 0.05 * (high - low or 1.0)
    repeated = len(set(numbers.groups)) < len(numbers.groups)
    rows = (
        (
            f"Bias: mean over {numbers.unit} of their mean difference"
            if repeated
            else "Mean difference (bias)",
            found.bias,
        ),
        ("Lower limit of agreement", found.lower_limit),
        ("Upper limit of agreement", found.upper_limit),
    )
    return Section(
        "agreement",
        "Predicted and true",
        (
            (
                "A difference is predicted less true. About 95% of differences lie between the limits of "
                "agreement; "
                "whether that is good enough is a question of use, not of statistics."
            ),
            *((_REPEATED.format(unit=numbers.unit),) if repeated else ()),
        ),
        plots=(
            Plot(
                "predicted",
                "Predicted against true",
                "Each point is a sample, predicted by a model that has not seen it.",
                f"true {numbers.model.target}",
                "predicted",
                (Trace("", numbers.truth, numbers.value, form="points"),),
                guides=(Guide("equal", "diagonal"),),
                x_range=(low - room, high + room),
                y_range=(low - room, high + room),
            ),
            Plot(
                "differences",
                "Differences",
                "Differences that grow with the mean, or slope, say where the model is off.",
                "mean of predicted and true",
                "predicted \N{MINUS SIGN} true",
                (Trace("", found.means, found.differences, form="points"),),
                guides=(
                    Guide("bias", "horizontal", found.bias.value),
                    Guide("limits of agreement", "horizontal", found.lower_limit.value),
                    Guide("", "horizontal", found.upper_limit.value),
                ),
            ),
        ),
        tables=(Table("Limits of agreement", ("Figure", "Value"), rows), worst_numbers(numbers)),
    )


def worst_numbers(numbers: Numbers) -> Table:
    """The samples that are furthest off."""
    order = np.argsort(-np.abs(numbers.value - numbers.truth), kind="stable")[:_WORST]
    rows = tuple(
        (
            numbers.subjects[place][:16],
            float(numbers.truth[place]),
            float(numbers.value[place]),
            float(numbers.value[place] - numbers.truth[place]),
        )
        for place in order.tolist()
    )
    return Table("The largest differences", ("Subject", "True", "Predicted", "Difference"), rows)


def describe_risk(numbers: Numbers, event: NDArray[np.bool_]) -> Section:
    """Survival of thirds of the predicted risk (Kaplan and Meier)."""
    third = np.minimum(_ranks(numbers.value) * 3 // len(numbers.value), 2)
    traces, rows = [], []
    for number, name in enumerate(_THIRDS):
        inside = third == number
        if not inside.any():
            continue
        curve = kaplan_meier(numbers.truth[inside], event[inside])
        traces.append(Trace(f"{name} risk", curve.time, curve.survival, curve.low, curve.high, "step"))
        rows.append((f"{name.capitalize()} risk", int(inside.sum()), int(event[inside].sum())))
    return Section(
        "survival",
        "Survival by predicted risk",
        (
            (
                "Samples in thirds of their predicted risk. The further apart the lines, and in the right "
                "order, "
                "the "
                "better the model tells early events from late ones. Risks of different folds come from "
                "different "
                "models, so that thirds of all folds together are a coarse picture."
            ),
        ),
        plots=(
            Plot(
                "survival",
                "Share without the event",
                "Bands are 95% intervals, with samples taken as independent.",
                "time",
                "share without the event",
                tuple(traces),
                y_range=(0, 1.02),
                wide=True,
            ),
        ),
        tables=(Table("The thirds", ("Third", "Samples", "Events"), tuple(rows)),),
    )


def _ranks(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Place of each value in rising order; equal values in the order of the samples."""
    places = np.empty(values.size, dtype=np.int64)
    places[np.argsort(values, kind="stable")] = np.arange(values.size)
    return places
