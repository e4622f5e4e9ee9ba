"""The course of a training, from its card to the curves of a report."""

from __future__ import annotations

from types import SimpleNamespace
from xml.etree import ElementTree as ET

from voxlake.evaluation.figures import course_figure
from voxlake.evaluation.training_section import training_curves
from voxlake.learning.history import figures_of

OLD = {"epoch": 1, "train_loss": 0.7, "validation_loss": 0.6, "validation_roc_auc": 0.8, "seconds": 1.0}
NEW = {"epoch": 1, "train_loss": 0.7, "figures": {"loss": 0.6, "mean_absolute_error": 3.0}, "seconds": 1.0}


def test_figures_of_old_and_new_cards_are_read():
    assert figures_of(OLD) == {"loss": 0.6, "roc_auc": 0.8}
    assert figures_of(NEW) == {"loss": 0.6, "mean_absolute_error": 3.0}
    assert figures_of({**OLD, "validation_loss": None, "validation_roc_auc": None}) == {}


def test_every_figure_becomes_a_curve():
    history = [{"epochs": [one, {**one, "epoch": 2}], "best_epoch": 2} for one in (OLD, NEW)]
    first, second = training_curves(SimpleNamespace(card={"history": history}))
    assert (first.training, first.validation, first.best) == ((0.7, 0.7), (0.6, 0.6), 2)
    assert first.figures == {"roc_auc": (0.8, 0.8)}
    assert second.figures == {"mean_absolute_error": (3.0, 3.0)}
    drawing = ET.fromstring(course_figure([first, second]))
    texts = " ".join("".join(part.itertext()) for part in drawing.iter())
    assert "epoch" in texts
    assert training_curves(SimpleNamespace(card={})) == ()
