"""The course of a training, for the report of a model that was trained."""

from __future__ import annotations

from voxlake.evaluation.content import TrainingCurve
from voxlake.evaluation.speaker import Speaker
from voxlake.learning.history import figures_of

__all__ = ["training_curves"]


def training_curves(model: Speaker) -> tuple[TrainingCurve, ...]:
    """Loss and all other figures of each fold after each epoch; none for a model that was mined."""
    curves = []
    for number, course in enumerate(model.card.get("history", ()), 1):
        figures = [figures_of(epoch) for epoch in course["epochs"]]
        names = dict.fromkeys(name for one in figures for name in one)
        values = {name: tuple(one.get(name, float("nan")) for one in figures) for name in names}
        curves.append(
            TrainingCurve(
                f"fold {number}",
                tuple(epoch["train_loss"] for epoch in course["epochs"]),
                values.pop("loss", ()),
                course["best_epoch"],
                values,
            )
        )
    return tuple(curves)
