"""Views over the tables, for those who write SQL."""

from __future__ import annotations

from collections.abc import Iterable

from voxlake.lake.quality.series_findings import SERIES_FINDINGS

__all__ = ["VIEWS", "cohort_view", "cohort_views", "not_withdrawn"]

VIEWS = {
    "studies": """
select study_instance_uid, any_value(patient_id) as patient_id, min(study_date) as study_date,
       any_value(study_description) as study_description,
       list_sort(list_distinct(list(modality))) as modalities,
       count(*) as series, sum(instances) as instances, sum(images) as images, sum(bytes) as bytes
from series group by study_instance_uid
""",
    "patients": """
select patient_id, any_value(patient_sex) as patient_sex, count(distinct study_instance_uid) as studies,
       count(*) as series, sum(instances) as instances, sum(images) as images,
       min(study_date) as first_study_date, max(study_date) as last_study_date
from series where patient_id is not null group by patient_id
""",
    "series_findings": SERIES_FINDINGS,
}


def not_withdrawn(column: str = "patient_id") -> str:
    """SQL condition that leaves out patients who have withdrawn; who is not known cannot withdraw."""
    withdrawn = "select patient_id from withdrawals where patient_id is not null"
    return f"({column} is null or {column} not in ({withdrawn}))"


def cohort_view(name: str) -> str:
    """Name of the view of a cohort: ``cohort_`` and the name with letters, digits and underscores."""
    return "cohort_" + "".join(c if c.isalnum() else "_" for c in name.lower())


def cohort_views(cohorts: Iterable[tuple[str, str]]) -> dict[str, str]:
    """SQL of the view of each cohort, from pairs of name and identifier; later pairs win."""
    return {
        cohort_view(name): (
            "select series.* from cohort_members join series using (series_instance_uid) "
            f"where cohort_members.cohort_id = '{cohort_id}' and {not_withdrawn('series.patient_id')}"
        )
        for name, cohort_id in cohorts
    }
