"""From labels at any level to one label per series, conflicts kept apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from voxlake.core.errors import NotFoundError
from voxlake.core.hints import hint
from voxlake.lake.cohorts import Cohort

__all__ = ["Resolved", "resolve_labels"]

# A label of a patient holds for the patient's series unless the series, or something nearer, has its own.
_NEAREST = {"instance": 0, "series": 1, "study": 2, "patient": 3}

_FOUND = """
with member as (select * from cohort_members where cohort_id = $id),
inside as (
    select distinct instances.series_instance_uid, instances.sop_instance_uid,
           instances.study_instance_uid, instances.patient_id
    from instances join member using (series_instance_uid)
)
select distinct inside.series_instance_uid, labels.level, labels.value
from labels join inside on labels.subject = case labels.level
    when 'instance' then inside.sop_instance_uid
    when 'series' then inside.series_instance_uid
    when 'study' then inside.study_instance_uid
    else inside.patient_id end
where labels.name = $name
"""


@dataclass(frozen=True)
class Resolved:
    """Labels of the series of a cohort.

    Parameters
    ----------
    values : mapping of series to label
        Series with exactly one label.
    conflicts : mapping of series to tuple of labels
        Series whose nearest labels disagree; they are excluded, and said to be.
    """

    values: Mapping[str, str]
    conflicts: Mapping[str, tuple[str, ...]]


def resolve_labels(cohort: Cohort, name: str) -> Resolved:
    """Find the label `name` of every series of a cohort.

    Labels at the level of the instance count before those of the series, these before the study's and
    the patient's.

    Raises
    ------
    NotFoundError
        No series of the cohort has such a label; a near miss is named.
    """
    rows = cohort.lake.sql(_FOUND, {"id": cohort.cohort_id, "name": name}).rows()
    if not rows:
        names = [row[0] for row in cohort.lake.sql("select distinct name from labels").rows()]
        known = hint(name, names) or "; bring labels in with a mapping or `voxlake label`"
        raise NotFoundError(f"no series of cohort '{cohort.name}' has a label '{name}'{known}")
    by_series: defaultdict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for series, level, value in rows:
        by_series[series][_NEAREST[level]].add(value)
    nearest = {series: levels[min(levels)] for series, levels in by_series.items()}
    return Resolved(
        values={series: next(iter(found)) for series, found in nearest.items() if len(found) == 1},
        conflicts={series: tuple(sorted(found)) for series, found in nearest.items() if len(found) > 1},
    )
