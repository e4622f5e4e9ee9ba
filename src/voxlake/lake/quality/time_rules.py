"""Rules about dates and about what must not change within a patient."""

from __future__ import annotations

from voxlake.lake.quality.rule import Rule, by_query

__all__ = ["TIME_RULES"]


def _date(column: str) -> str:
    return f"try_strptime({column}, '%Y%m%d')::date"


_AGE = """
    try_cast(patient_age[1:3] as double) / case patient_age[4]
        when 'Y' then 1 when 'M' then 12 when 'W' then 52.1775 when 'D' then 365.2425 end
"""

# Dates of one patient move together, so only their order and distance count; see the page of the rule.
_PARADOX = f"""
with dates as (
    select distinct study_instance_uid, {_date("study_date")} as studied, {_date("series_date")} as made,
        {_date("acquisition_date")} as acquired, {_date("tags ->> '$.00080023.Value[0]'")} as shown,
        {_date("tags ->> '$.00100030.Value[0]'")} as born, {_AGE} as age,
        injection_to_scan / nullif(radionuclide_half_life, 0) as half_lives,
        injection_to_scan / 3600 as waited, committed_at::date as stored
    from {{instances}} as instances
),
paradoxes as (
    select study_instance_uid, unnest([
        case when studied > stored then
            (studied - stored, 'the study is dated after it came into the lake (days)') end,
        case when made < studied then (studied - made, 'a series is dated before its study (days)') end,
        case when acquired < studied - 1 then
            (studied - acquired, 'an image was acquired before its study (days)') end,
        case when acquired > shown + 1 then
            (acquired - shown, 'an image was acquired after its content was made (days)') end,
        case when born > studied then (born - studied, 'the study is dated before birth (days)') end,
        case when abs((studied - born) / 365.2425 - age) > 1.5 and born <= studied then
            (abs((studied - born) / 365.2425 - age), 'the age is not that since birth (years apart)') end,
        case when half_lives > 6 then
            (waited, 'more than 6 half-lives from injection to scan (hours): stated after the scan?') end
    ]::struct(value double, detail varchar)[]) as paradox
    from dates
)
select study_instance_uid as subject, max(paradox.value) as value, paradox.detail as detail
from paradoxes where paradox is not null group by study_instance_uid, paradox.detail
"""

_SEX = """
select patient_id as subject, count(distinct patient_sex) as value,
       'PatientSex is ' || string_agg(distinct patient_sex, ' and ' order by patient_sex) as detail
from {series} as series where patient_id is not null and patient_sex is not null and patient_sex <> ''
group by 1 having count(distinct patient_sex) > 1
"""

_AGES = f"""
with ages as (
    select patient_id, {_date("study_date")} as studied, {_AGE} as age
    from {{series}} as series where regexp_full_match(patient_age, '[0-9]{{3}}[DWMY]')
),
births as (
    select patient_id, (studied - date '1900-01-01') / 365.2425 - age as born from ages
    where patient_id is not null and studied is not null and age is not null
)
select patient_id as subject, max(born) - min(born) as value,
       'ages and study dates do not belong to one date of birth' as detail
from births group by 1 having max(born) - min(born) > 1.5
"""

TIME_RULES = (
    Rule(
        "date_paradox",
        "warning",
        "study",
        "Dates in an impossible order",
        "A wrong date puts a follow-up before its baseline, and a patient into the wrong age group.",
        "Per study: a series dated before it, an image acquired more than a day before it or more than a day "
        "after its own ContentDate, a study before birth or after the day on which it came into the lake, an "
        "age more than 1.5 years off that since birth, more than 6 half-lives between injection and scan "
        "(an injection stated after the scan reads as one of the day before). De-identification moves all "
        "dates of a patient by the same number of days, always back: order and distances stay true, the "
        "calendar does not. Rules with the date of birth speak only where the policy keeps it. The value "
        "is in "
        "the unit that the detail names.",
        "Ask the source. Leave the study out of anything that counts days.",
        by_query(_PARADOX, "study"),
    ),
    Rule(
        "patient_sex_conflict",
        "warning",
        "patient",
        "One patient, two sexes",
        "Mostly two people under one identifier, or a registration that was corrected later.",
        "The number of different PatientSex among the series of a patient.",
        "Do not split such patients over training and test; ask the source who they are.",
        by_query(_SEX, "patient"),
    ),
    Rule(
        "patient_age_conflict",
        "warning",
        "patient",
        "Ages that do not fit the dates of the studies",
        "Mostly two people under one identifier, or studies with a wrong date.",
        "Study date less age gives a date of birth; found where those of one patient lie more than 1.5 years "
        "apart (an age in years is rounded down, which explains one). The value is that distance in years. "
        "Ages over 89 may have been capped by de-identification.",
        "Do not split such patients over training and test; ask the source who they are.",
        by_query(_AGES, "patient"),
    ),
)
