"""Which part of a split a label gives each sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from voxlake.core.errors import UsageError
from voxlake.core.hints import hint
from voxlake.lake.cohorts import Cohort
from voxlake.lake.resolve import resolve_labels
from voxlake.learning.settings import SplitSettings
from voxlake.learning.units import Left

__all__ = ["PARTS", "find_parts"]

PARTS = ("train", "validation", "test")


def find_parts(
    cohort: Cohort, settings: SplitSettings, subjects: Mapping[str, Sequence[str]]
) -> tuple[dict[str, str], list[Left]]:
    """Look up the label that decides who is tested.

    Parameters
    ----------
    cohort : Cohort
        Whose labels.
    settings : SplitSettings
        Which label.
    subjects : mapping of subject to its series
        Samples.

    Returns
    -------
    dict of subject to value
        Of samples with exactly one; empty where no label decides.
    list of Left
        Samples with none, or with several.

    Raises
    ------
    NotFoundError
        No series of the cohort has such a label.
    UsageError
        A given part is neither training nor validation nor test.
    """
    if settings.label is None:
        return {}, []
    labels = resolve_labels(cohort, settings.label)
    values: dict[str, str] = {}
    left = []
    for subject, series in subjects.items():
        found = {labels.values[one] for one in series if one in labels.values}
        found |= {value for one in series for value in labels.conflicts.get(one, ())}
        if len(found) == 1:
            values[subject] = found.pop()
        elif found:
            shown = ", ".join(sorted(found))
            left.append(Left(subject, "label_conflict", f"stands in several parts of the split: {shown}"))
        else:
            detail = f"no label '{settings.label}', by which the cohort is split"
            left.append(Left(subject, "no_label", detail))
    if settings.kind == "given":
        for value in sorted(set(values.values()) - set(PARTS)):
            raise UsageError(
                f"label '{settings.label}' says '{value}'{hint(value, PARTS)}; a given split has the parts "
                f"{', '.join(PARTS)} (a mapping can rename values)"
            )
    return values, left
