"""Rules about places in space, and whether a series is the volume that it claims to be."""

from __future__ import annotations

from voxlake.lake.quality.rule import Rule, by_query

__all__ = ["GEOMETRY_RULES"]

# One verdict for each stack of a series; the series itself where no stack is listed.
_VERDICTS = """
with grey as (
    -- Segmentations leave out empty slices and repeat places by design; slides are tiles.
    select * from {series} as series where coalesce(modality not in ('SEG', 'RTDOSE', 'SM'), true)
),
verdicts as (
    select series_instance_uid, members_digest, stacks.geometry, stacks.geometry_note, stacks.label
    from grey join stacks using (series_instance_uid, members_digest, policy_digest)
    union all
    select series_instance_uid, members_digest, geometry, geometry_note, null
    from grey anti join stacks using (series_instance_uid, members_digest, policy_digest)
)
"""
_FROM_VERDICT = """
select series_instance_uid as subject, members_digest as content,
       try_cast(regexp_extract(geometry_note, '%s', 1) as double) as value,
       geometry_note || coalesce(' (' || nullif(label, '{}') || ')', '') as detail
from verdicts where geometry = '%s' or geometry_note like '%%; also %s:%%'
"""
# What only a set of slices can get wrong; the localizer of a CT is a projection.
_SLICES = """
with slices as (
    select * from {instances} as instances
    where modality in ('CT', 'MR', 'PT', 'NM') and pixel_offset is not null
      and not coalesce(list_contains(image_type, 'LOCALIZER'), false)
),
digests as (select series_instance_uid, members_digest from {series} as series)
"""


def _verdict(kind: str, number: str) -> str:
    return _VERDICTS + _FROM_VERDICT % (number, kind, kind)


def _several(what: str, condition: str, words: str, having: str = "") -> str:
    """Count the different forms of something within a series."""
    return f"""{_SLICES}
select series_instance_uid as subject, any_value(members_digest) as content,
       count(distinct {what}) as value,
       count(distinct {what}) || ' {words} in one series' as detail
from slices join digests using (series_instance_uid) where {condition}
group by 1 having count(distinct {what}) > 1 {having}
"""


_GRID_ADVICE = (
    "Ask the archive for the series again if the transfer was cut short. Else leave the series out, or mend "
    "it where a plan says how; what was mended is recorded."
)

_ORIENTATION = """
with placed as (
    select *, image_orientation_patient as o from {instances} as instances
    where len(image_orientation_patient) = 6
),
measured as (
    select *, sqrt(o[1]^2 + o[2]^2 + o[3]^2) as along_row, sqrt(o[4]^2 + o[5]^2 + o[6]^2) as along_column,
           o[1] * o[4] + o[2] * o[5] + o[3] * o[6] as across
    from placed
),
judged as (
    select *,
        greatest(abs(along_row - 1), abs(along_column - 1), abs(across)) as off,
        modality = 'CT' and patient_position in ('HFS', 'FFS') and o[1] < -0.9 and o[5] < -0.9 as upside_down
    from measured
)
select series_instance_uid as subject, any_value(series.members_digest) as content, max(off) as value,
    case when max(off) > 0.01
        then count(*) || ' images whose ImageOrientationPatient is not two directions at a right angle'
        else count(*) || ' images of a patient lying on the back are stored as of one lying face down' end
    as detail
from judged join {series} as series using (series_instance_uid)
where off > 0.01 or upside_down group by 1
"""

GEOMETRY_RULES = (
    Rule(
        "slices_missing",
        "error",
        "series",
        "Slices are missing",
        "A volume with a gap shows anatomy that is not there: organs are shortened, tumours lose volume.",
        "Gaps between neighbouring slices that are whole multiples of the usual one, from the positions "
        "along the normal; the tolerance is 5 % of the spacing. The value is the number of missing slices.",
        _GRID_ADVICE,
        by_query(_verdict("gap", r"(\d+) slices missing"), "series"),
    ),
    Rule(
        "slices_duplicate",
        "warning",
        "series",
        "Several images stand at one place",
        "Two images at one place are a repeated transfer, or two phases or echoes that nothing tells apart: "
        "which one is the volume is a guess.",
        "Positions along the normal that are closer than 1 % of the spacing, after the series was parted "
        "into its stacks. The value is the number of images of the stack.",
        "Find out what tells the images apart and split the series by it; drop true repeats (see "
        "`exact_duplicate`).",
        by_query(_verdict("duplicates", r"^(\d+) "), "series"),
    ),
    Rule(
        "gantry_tilt",
        "info",
        "series",
        "The slices are sheared (gantry tilt)",
        "Slices of a tilted gantry are not stacked along their normal. Treated as if they were, the volume "
        "is a slanted box: distances and shapes are wrong.",
        "The angle between the line through the positions and the normal of the slices, in degrees, where a "
        "voxel is off its place by more than 5 % of a pixel. The value is the angle.",
        "Resample the tilt away in the plan, or leave the series out.",
        by_query(_verdict("tilt", r"by ([0-9.eE+-]+) degrees"), "series"),
    ),
    Rule(
        "spacing_uneven",
        "warning",
        "series",
        "The distance between slices varies",
        "A grid has one spacing. With another one between some slices, volumes and lengths are wrong.",
        "How far a slice is off the place that an even spacing would give it; found above 5 % of the "
        "spacing, where no whole slices are missing. The value is that distance in mm.",
        "Resample in the plan, or leave the series out.",
        by_query(_verdict("uneven", r"(?:is|by up to) ([0-9.eE+-]+) mm"), "series"),
    ),
    Rule(
        "shapes_mixed",
        "warning",
        "series",
        "Images of different size in one series",
        "Images of different size are no volume; mostly a localizer or a screen shot went into the series.",
        "The number of different (rows, columns) among the images of a CT, MR, PET or NM series, localizers "
        "of CT left out.",
        "Look at the odd ones (`select rows, columns, image_type, count(*) ... group by all`) and select "
        "without them, or without the series.",
        by_query(_several("(rows, columns)", "rows is not null", "sizes of image"), "series"),
    ),
    Rule(
        "spacing_mixed",
        "warning",
        "series",
        "Different pixel spacings in one series",
        "A volume has one pixel spacing: with two, one of them gives wrong millimetres.",
        "The number of different PixelSpacing among the images of a CT, MR, PET or NM series, rounded to "
        "0.001 mm, localizers of CT left out.",
        "Split the series, or leave it out.",
        by_query(
            _several(
                "(round(pixel_spacing[1], 3), round(pixel_spacing[2], 3))",
                "len(pixel_spacing) = 2",
                "pixel spacings",
            ),
            "series",
        ),
    ),
    Rule(
        "orientation_mixed",
        "warning",
        "series",
        "Different orientations in one series",
        "Images in several directions are several stacks; a survey in three planes is the harmless case.",
        "The number of different ImageOrientationPatient among the images of a CT, MR, PET or NM series, "
        "cosines rounded to 0.01.",
        "Use the stacks one by one (table `stacks`), or leave the series out.",
        by_query(
            _several(
                "list_transform(image_orientation_patient, lambda x: round(x, 2) + 0.0)",
                "len(image_orientation_patient) = 6",
                "orientations",
            ),
            "series",
        ),
    ),
    Rule(
        "orientation_inconsistent",
        "warning",
        "series",
        "An orientation that cannot be, or contradicts the position of the patient",
        "Left and right, or front and back, may be swapped: the worst mistake that a volume can have.",
        "Cosines of ImageOrientationPatient that are off unit length or a right angle by more than 0.01 (the "
        "value); or axial CT of a patient who lies on the back by PatientPosition (HFS, FFS), stored with "
        "both axes turned round as scanners do for patients who lie face down.",
        "Look at one image with its anatomy in mind before anything is measured or learned.",
        by_query(_ORIENTATION, "series"),
    ),
    Rule(
        "pixel_spacing_missing",
        "error",
        "series",
        "No pixel spacing in cross-sectional images",
        "Without PixelSpacing nothing can be measured in millimetres, and no volume can be made.",
        "CT, MR and PET images, localizers of CT left out, whose PixelSpacing is absent or not positive. "
        "The value is their number.",
        "Ask for the original series: this is mostly a screen shot or an export that lost its header.",
        by_query(
            _SLICES
            + """
select series_instance_uid as subject, any_value(members_digest) as content, count(*) as value,
       count(*) || ' images have no pixel spacing' as detail
from slices join digests using (series_instance_uid)
where modality in ('CT', 'MR', 'PT')
  and not coalesce(len(pixel_spacing) = 2 and least(pixel_spacing[1], pixel_spacing[2]) > 0, false)
group by 1
""",
            "series",
        ),
    ),
)
