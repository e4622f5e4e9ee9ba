"""Figures of subgroups: by sex, age, manufacturer, modality, columns of series or table, labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from voxlake.core.errors import NotFoundError, UsageError
from voxlake.core.hints import hint
from voxlake.evaluation.asides import aside_values
from voxlake.evaluation.judged import Judged, estimates_of
from voxlake.evaluation.scored import Scored
from voxlake.evaluation.subjects import Behind, age_band, behind, header_values, label_values
from voxlake.lake.cohorts import get_cohort
from voxlake.metrics.comparison import Comparison
from voxlake.metrics.estimate import Estimate
from voxlake.metrics.subgroups import Subgroup, multiclass_subgroup_table, subgroup_table

__all__ = ["DEFAULTS", "Division", "Part", "divide", "divisions"]

# What a report looks at by itself, where the lake knows it and it has more than one value.
DEFAULTS = ("patient_sex", "age", "manufacturer", "modality")
_MOST = 12
_FEWEST = 5
_MISSING = "missing"
_TITLES: Mapping[str, str] = {
    "patient_sex": "Sex",
    "age": "Age, years",
    "manufacturer": "Manufacturer",
    "modality": "Modality",
}


@dataclass(frozen=True)
class Division:
    """A variable that divides the samples.

    Parameters
    ----------
    name, title : str
        As asked for, and for people.
    values : tuple of str
        Value of each sample; ``"missing"`` where it is not known. Beyond the 12 most frequent values, the
        others are put together under ``"other"``.
    """

    name: str
    title: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """Figures of the samples with one value of a variable.

    Parameters
    ----------
    value : str
        The value.
    samples, groups : int
        How many there are, and how many independent units.
    positives : int or None
        How many are of the positive class, where there are two.
    estimates : tuple of Estimate
        Figures with intervals; empty where there are too few samples.
    differences : tuple of Comparison
        From all other samples.
    """

    value: str
    samples: int
    groups: int
    positives: int | None
    estimates: tuple[Estimate, ...]
    differences: tuple[Comparison, ...]


def divisions(judged: Judged, names: Sequence[str] | None = None) -> list[Division]:
    """Values of variables for the samples of a model.

    Parameters
    ----------
    judged : Judged
        A scored model.
    names : sequence of str, optional
        Columns that a mined table carried along (`asides`), and, where the lake knows the subjects, ``age``,
        columns of ``series``, or labels; without it, those of `DEFAULTS` and those carried along that divide
        the samples.

    Raises
    ------
    UsageError
        There is no such column or label.
    """
    scored = judged.scored
    if scored is None:
        return []
    # Of another cohort nobody carried a column along.
    carried = aside_values(judged.model) if judged.cohort is None else {}
    outside = scored.model.level == "row"
    stored = behind(scored.model.lake, scored.model.level, scored.subjects)
    usual = tuple(dict.fromkeys((*(() if outside else DEFAULTS), *carried)))
    found = []
    for name in usual if names is None else names:
        if outside and name not in carried:
            raise UsageError(
                f"no subgroup '{name}': these are rows of a table from outside; known are the columns that "
                f"the task names in 'asides'{hint(name, carried)}; name it there and mine again"
            )
        by_subject = carried[name] if name in carried else _values(judged, stored, name)
        values = _few([by_subject.get(subject) or _MISSING for subject in scored.subjects])
        if names is not None or len(set(values) - {_MISSING}) > 1:
            found.append(Division(name, _TITLES.get(name, name.replace("_", " ").capitalize()), values))
    return found


def divide(judged: Judged, division: Division) -> list[Part]:
    """Figures of each value of a variable, the most frequent value first.

    Parameters
    ----------
    judged : Judged
        A scored model.
    division : Division
        As `divisions` gives it for the same model.

    Returns
    -------
    list of Part
        Values with fewer than 5 samples have counts only.
    """
    scored = judged.scored
    if scored is None:
        return []
    if isinstance(scored, Scored):
        return sorted(_classes(scored, division), key=lambda part: (-part.samples, part.value))
    values = np.asarray(division.values)
    parts = []
    for value in sorted(set(division.values)):
        inside = scored.take(values == value)
        enough = len(inside.subjects) >= _FEWEST
        parts.append(
            Part(
                value,
                len(inside.subjects),
                len(set(inside.groups)),
                None,
                estimates_of(inside) if enough else (),
                (),
            )
        )
    return sorted(parts, key=lambda part: (-part.samples, part.value))


def _classes(scored: Scored, division: Division) -> list[Part]:
    values = {division.name: np.asarray(division.values, dtype=object)}
    table: Sequence[Subgroup]
    if scored.thresholds is None:
        table = multiclass_subgroup_table(scored.truth, scored.probabilities, values, groups=scored.groups)
    else:
        table = subgroup_table(
            scored.is_positive, scored.score, values, groups=scored.groups, threshold=scored.thresholds
        )
    return [
        Part(
            one.value,
            one.samples,
            one.groups,
            None if scored.thresholds is None else one.positives,
            one.estimates if one.samples >= _FEWEST else (),
            one.differences if one.samples >= _FEWEST else (),
        )
        for one in table
    ]


def _values(judged: Judged, stored: Sequence[Behind], name: str) -> Mapping[str, str | None]:
    """Value of a variable for each subject."""
    lake = judged.model.lake
    columns = lake.sql("select * from series limit 0").columns
    if name == "age":
        ages = header_values(lake, stored, "patient_age")
        return {subject: age_band(age) for subject, age in ages.items()}
    if name in columns:
        return header_values(lake, stored, name)
    cohort = judged.cohort or get_cohort(lake, str(judged.model.card["cohort"]))
    try:
        return label_values(cohort, stored, name)
    except NotFoundError as error:
        known = hint(name, ["age", *columns])
        raise UsageError(f"no subgroup '{name}': no column of series{known}, and {error}") from None


def _few(values: Sequence[str]) -> tuple[str, ...]:
    """The most frequent values, all others put together."""
    kept = {value for value, _ in Counter(values).most_common(_MOST)}
    return tuple(value if value in kept else "other" for value in values)
