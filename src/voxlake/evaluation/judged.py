"""What evaluate and report share: a model, what may be scored of it, figures, and the audit before."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from voxlake.core.digest import digest_json
from voxlake.core.errors import UsageError
from voxlake.evaluation.anomalies import Anomalies, anomaly_estimates, collect_anomalies
from voxlake.evaluation.audit import Audit
from voxlake.evaluation.audit_lake import audit_model
from voxlake.evaluation.labelled import Labelled, collect_labelled, labelled_estimates
from voxlake.evaluation.numbers import Numbers, collect_numbers, number_estimates
from voxlake.evaluation.scored import Scored, collect, estimates
from voxlake.evaluation.segmented import Segmented, collect_segmented, segmented_estimates
from voxlake.evaluation.speaker import Speaker
from voxlake.lake.cohorts import Cohort
from voxlake.metrics.estimate import Estimate

__all__ = ["AnyScored", "Judged", "estimates_of", "judge", "stored_estimates"]

AnyScored: TypeAlias = Scored | Numbers | Labelled | Anomalies | Segmented
_COLLECT: Mapping[str, Callable[[Speaker, Cohort | None], AnyScored]] = MappingProxyType(
    {
        "classification": collect,
        "ordinal": collect,
        "multilabel": collect_labelled,
        "reconstruction": collect_anomalies,
        "regression": collect_numbers,
        "survival": collect_numbers,
        "segmentation": collect_segmented,
    }
)


@dataclass(frozen=True)
class Judged:
    """A model and how well it did.

    Parameters
    ----------
    model : Speaker
        The model.
    scored : Scored, Numbers, Labelled, Anomalies, Segmented or None
        Predictions with known truth; None where the kind has none, as clusters have not.
    estimates : tuple of Estimate
        Figures with intervals.
    audit : Audit or None
        What was compared across parts; it holds, or nothing of this would be there. None where nothing was
        held apart.
    cohort : Cohort or None
        The cohort that was scored, if it is not the model's own.
    """

    model: Speaker
    scored: AnyScored | None
    estimates: tuple[Estimate, ...]
    audit: Audit | None
    cohort: Cohort | None

    @property
    def part(self) -> str:
        """``test``, ``new``, or ``fit`` where nothing was held apart."""
        return "fit" if self.scored is None else self.scored.part

    @property
    def cohort_id(self) -> str:
        """Cohort that was scored."""
        return str(self.model.row["cohort_id"]) if self.scored is None else self.scored.cohort_id

    def digest(self) -> str:
        """SHA-256 over everything that the figures are made from."""
        if self.scored is None:
            return digest_json([self.model.model_id, dict(self.model.card.get("results", {}))])
        return self.scored.digest()


def judge(model: Speaker, cohort: Cohort | None) -> Judged:
    """Audit a model's parts, then score it.

    Parameters
    ----------
    model : Speaker
        The model.
    cohort : Cohort or None
        A cohort that was predicted; None for the model's own.

    Raises
    ------
    LeakageError
        A patient, study, group or image stands on two sides.
    NotFoundError
        There are no predictions with a known truth.
    UsageError
        A kind that makes no predictions cannot be scored on a cohort.
    """
    if model.task_kind not in _COLLECT:
        if cohort is not None:
            raise UsageError(
                f"a result of kind '{model.task_kind}' makes no predictions that a cohort could be scored "
                "on; leave the cohort out"
            )
        return Judged(model, None, stored_estimates(model), None, None)
    scored = _COLLECT[model.task_kind](model, cohort)
    found = audit_model(model, scored.subjects, elsewhere=cohort is not None)
    if found is not None:
        found.require()
    own = stored_estimates(model) if model.task_kind == "survival" and cohort is None else ()
    figures = own or estimates_of(scored)
    return Judged(model, scored, figures, found, cohort)


def estimates_of(scored: AnyScored) -> tuple[Estimate, ...]:
    """Figures with intervals over patients."""
    match scored:
        case Scored():
            return tuple(estimates(scored))
        case Labelled():
            return tuple(labelled_estimates(scored))
        case Anomalies():
            return tuple(anomaly_estimates(scored))
        case Segmented():
            return tuple(segmented_estimates(scored))
        case Numbers():
            return tuple(number_estimates(scored))


def stored_estimates(model: Speaker) -> tuple[Estimate, ...]:
    """Figures that mining itself made."""
    found = model.card.get("results", {}).get("estimates", ())
    return tuple(_estimate(one) for one in found)


def _estimate(one: Mapping[str, Any]) -> Estimate:
    value, low, high = (
        math.nan if one.get(name) is None else float(one[name]) for name in ("value", "low", "high")
    )
    return Estimate(
        str(one["name"]),
        value,
        low,
        high,
        float(one.get("level") or 0.95),
        str(one.get("method") or "none: not said"),
        int(one.get("samples") or 0),
        int(one.get("groups") or 0),
    )
