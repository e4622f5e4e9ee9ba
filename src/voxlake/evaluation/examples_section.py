"""Images that a model got wrong, and right: the most confident first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from voxlake.evaluation.content import Example
from voxlake.evaluation.scored import Scored
from voxlake.evaluation.slices import picture
from voxlake.evaluation.subjects import volumes_of
from voxlake.volumes.read import read_values

__all__ = ["describe_examples"]

_EXAMPLES = 8
_LOOKED_AT = 64


def describe_examples(scored: Scored) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """The most confident mistakes, and correct ones of each class, as far as they have a prepared image."""
    called = scored.called
    certainty = scored.probabilities[np.arange(len(called)), called]
    wrong = [int(number) for number in np.argsort(-certainty) if called[number] != scored.truth[number]]
    right = [int(number) for number in np.argsort(-certainty) if called[number] == scored.truth[number]]
    share = -(-_EXAMPLES // len(scored.model.classes))
    balanced = [
        number
        for place in range(len(scored.model.classes))
        for number in [one for one in right if scored.truth[one] == place][:share]
    ]
    return _shown(scored, wrong[:_LOOKED_AT]), _shown(scored, balanced)


def _shown(scored: Scored, numbers: Sequence[int]) -> tuple[Example, ...]:
    lake, classes = scored.model.lake, scored.model.classes
    found = volumes_of(lake, scored.model.level, [scored.subjects[number] for number in numbers])
    chosen = [number for number in numbers if scored.subjects[number] in found][:_EXAMPLES]
    if not chosen:
        return ()
    rows = [found[scored.subjects[number]] for number in chosen]
    column = scored.positive if scored.model.is_binary else None
    examples = []
    for number, row, values in zip(chosen, rows, read_values(lake, rows), strict=True):
        place = int(scored.called[number]) if column is None else column
        examples.append(
            Example(
                image=picture(values),
                identifier=row["volume_id"][:12],
                truth=classes[scored.truth[number]],
                predicted=classes[scored.called[number]],
                probability=float(scored.probabilities[number, place]),
                probability_of=classes[place],
                note="middle slice" if row["shape"][0] > 1 else "",
            )
        )
    return tuple(examples)
