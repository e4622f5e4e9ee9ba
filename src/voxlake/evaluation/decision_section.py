"""Whether acting on a model does more good than harm: the decision curve."""

from __future__ import annotations

import numpy as np

from voxlake.evaluation.content import Guide, Plot, Section, Table, Trace
from voxlake.evaluation.scored import Scored
from voxlake.metrics.decision import decision_curve

__all__ = ["describe_decision"]

_SHOWN = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)


def describe_decision(scored: Scored) -> Section | None:
    """Net benefit over all thresholds; None with more than two classes."""
    if not scored.model.is_binary:
        return None
    curve = decision_curve(scored.is_positive, scored.score, groups=scored.groups)
    prevalence = float(scored.is_positive.mean())
    lowest = min(-0.02, -0.1 * prevalence)
    places = [int(np.abs(curve.thresholds - wanted).argmin()) for wanted in _SHOWN]
    rows = tuple(
        (
            f"{curve.thresholds[place]:.0%}",
            float(curve.net_benefit[place]),
            float(curve.low[place]),
            float(curve.high[place]),
            float(curve.treat_all[place]),
            float(curve.gain[place]),
            float(curve.gain_low[place]),
            float(curve.gain_high[place]),
        )
        for place in places
    )
    return Section(
        "decision",
        "Decision curve",
        (
            (
                "Whoever acts on a case from a probability of, say, 10% holds one missed case to be as bad "
                "as "
                "nine "
                "false alarms. At each such threshold the net benefit counts true alarms and takes off false "
                "ones at "
                "that rate, per case (Vickers and Elkin 2006). A model is of use where it lies above both "
                "acting "
                "on "
                "all and acting on none. Net benefit depends on how common the positive class is: here "
                f"{prevalence:.1%}, which may not be so where the model is to be used."
            ),
        ),
        plots=(
            Plot(
                "decision",
                "Net benefit",
                "The band is the 95% interval of the model. Acting on none has a net benefit of 0.",
                "threshold probability",
                "net benefit",
                (
                    Trace("model", curve.thresholds, curve.net_benefit, curve.low, curve.high),
                    Trace("act on all", curve.thresholds, curve.treat_all),
                ),
                guides=(Guide("act on none", "horizontal", 0.0),),
                x_range=(0, 1),
                y_range=(lowest, 1.05 * max(prevalence, float(np.nanmax(curve.high, initial=0.05)))),
            ),
        ),
        tables=(
            Table(
                "Net benefit at some thresholds, and what it gains over acting on all",
                ("Threshold", "Model", "from", "to", "Act on all", "Gain", "from", "to"),
                rows,
                note=f"Intervals: {curve.method}.",
            ),
        ),
    )
