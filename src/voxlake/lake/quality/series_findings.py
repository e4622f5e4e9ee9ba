"""The view that leads from findings to series."""

from __future__ import annotations

__all__ = ["SERIES_FINDINGS"]

# The series that every finding touches. One about a series holds as long as the series has the content that
# it was found in: images that came in later may have mended it.
SERIES_FINDINGS = """
select rule, severity, series.series_instance_uid, subject_level, subject, value, detail
from findings join series on subject_level = 'series' and subject = series.series_instance_uid
where content is null or content = series.members_digest
union all
select rule, severity, series.series_instance_uid, subject_level, subject, value, detail
from findings join series on subject_level = 'study' and subject = series.study_instance_uid
union all
select rule, severity, series.series_instance_uid, subject_level, subject, value, detail
from findings join series on subject_level = 'patient' and subject = series.patient_id
union all
select distinct rule, severity, instances.series_instance_uid, subject_level, subject, value, detail
from findings join instances on subject_level = 'instance' and subject = instances.sop_instance_uid
"""
