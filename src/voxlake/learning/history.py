"""The course of a training as it stands in the card of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["figures_of"]


def figures_of(epoch: Mapping[str, Any]) -> dict[str, float]:
    """Figures of the validation part after an epoch; also of cards from before they had names.

    Parameters
    ----------
    epoch : mapping
        An `EpochRecord` as plain values.
    """
    if "figures" in epoch:
        return dict(epoch["figures"])
    older = {"loss": epoch.get("validation_loss"), "roc_auc": epoch.get("validation_roc_auc")}
    return {name: float(value) for name, value in older.items() if value is not None}
