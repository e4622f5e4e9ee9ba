"""Rules about what the pixels are like, from the table `fingerprints`."""

from __future__ import annotations

from voxlake.lake.fingerprints import VERSION
from voxlake.lake.quality.rule import Rule, by_query

__all__ = ["BLANK", "PIXEL_RULES"]

# Share of pixels with one value from which an image counts as blank; at most 0.979 in real ones.
BLANK = 0.999
# Share of pixels at the end of the range: two of 2,814 real X-rays and ultrasound images reach it.
_END = 0.02
# Share from which an image has two values only: a mask or a drawing.
_TWO_VALUES = 0.99
# What is no grey image of a device: masks, dose, white slides, photographs, documents.
_NOT_GREY = ("SEG", "RTDOSE", "SM", "GM", "XC", "ES", "OP", "DOC", "OT", "SR", "PR", "KO", "RTSTRUCT")

_MEASURED = f"""
with images as (
    select distinct on (sop_instance_uid) sop_instance_uid, series_instance_uid, modality, fingerprints.*
        exclude (run_id, committed_at)
    from {{instances}} as instances join fingerprints using (sha256) where version = {VERSION}
)
"""
_ENDS = f"""{_MEASURED}
select sop_instance_uid as subject, {{value}} as value, {{detail}} as detail
from images where share_common < {BLANK} and share_low + share_high < {_TWO_VALUES}
  and coalesce(modality not in {_NOT_GREY}, true) and share_high >= {_END} and share_low {{low}} {_END}
"""


def _ends(low: str, value: str, detail: str) -> str:
    # By hand: the braces of the scope must stay.
    statement = _ENDS.replace("{value}", value).replace("{detail}", detail)
    return statement.replace("{low}", low)


_CT = f"""
with units as (
    select series_instance_uid,
        min(minimum * rescale_slope + rescale_intercept) as lowest,
        max(maximum * rescale_slope + rescale_intercept) as highest,
        avg(mean * rescale_slope + rescale_intercept) as average
    from {{instances}} as instances join fingerprints using (sha256)
    where version = {VERSION} and modality = 'CT' and rescale_slope > 0 and rescale_intercept is not null
      and coalesce(rescale_type, 'HU') in ('HU', 'US')
      and not coalesce(list_contains(image_type, 'LOCALIZER'), false)
      and not coalesce(list_contains(image_type, 'DERIVED') and list_contains(image_type, 'SECONDARY')
          and sop_class_uid like '1.2.840.10008.5.1.4.1.1.7%', false)
    group by 1
)
select series_instance_uid as subject, any_value(members_digest) as content,
    any_value(case
        when lowest >= 0 and highest <= 255 then highest
        when lowest > -500 or lowest < -3100 then lowest
        when highest > 32767 then highest
        else average end) as value,
    any_value(case
        when lowest >= 0 and highest <= 255 then 'values from 0 to 255: a window was burned in'
        when lowest > -500 then 'no air: no value below -500 HU'
        when lowest < -3100 then 'values below -3100 HU that are not stated to be padding'
        when highest > 32767 then 'values above 32767 HU'
        else 'a mean above 500 HU' end) as detail
from units join {{series}} as series using (series_instance_uid)
where lowest > -500 or lowest < -3100 or highest > 32767 or average > 500
group by 1
"""

PIXEL_RULES = (
    Rule(
        "image_blank",
        "warning",
        "instance",
        "A blank image",
        "An image of one value is a failed exposure, a failed export, or a slice beside the patient.",
        f"The share of pixels, padding left out, that have the most frequent value: found from {BLANK} up. "
        "Masks (SEG) and dose are left out. The value is the share.",
        "Leave the image out; ask the source if a whole series is blank.",
        by_query(
            f"{_MEASURED} select sop_instance_uid as subject, coalesce(share_common, 1) as value, "
            "'all pixels, or nearly all, have one value' as detail from images "
            f"where coalesce(share_common, 1) >= {BLANK} "
            "and coalesce(modality not in ('SEG', 'RTDOSE'), true)",
            "instance",
        ),
        pixels=True,
    ),
    Rule(
        "image_saturated",
        "warning",
        "instance",
        "A saturated image",
        "Where the detector or an export ran out of range everything is equally white: what was there is "
        "lost.",
        f"The share of pixels in the highest 1/128 of the image's own range: found from {_END:.0%} up, where "
        "the low end is not crowded too. Of 2,814 real X-rays and ultrasound images two reached it. "
        "Padding, masks and drawings (two values), photographs and slides are left out. The value is the "
        "share.",
        "Look at the image; go back to the original if this is an export.",
        by_query(_ends("<", "share_high", "'many pixels share the highest values'"), "instance"),
        pixels=True,
    ),
    Rule(
        "image_clipped",
        "warning",
        "instance",
        "An image clipped at both ends",
        "A window was burned in: values below and above it are lost, and black is not air any more.",
        f"As `image_saturated`, with {_END:.0%} or more of the pixels at the low end too. The value is the "
        "smaller "
        "of the two shares.",
        "Go back to the original; do not mix such images with others.",
        by_query(
            _ends(
                ">=", "least(share_low, share_high)", "'many pixels share the lowest and the highest values'"
            ),
            "instance",
        ),
        pixels=True,
    ),
    Rule(
        "ct_values_implausible",
        "warning",
        "series",
        "CT values that are no Hounsfield units",
        "A lost intercept, a burned-in window or undeclared padding moves every threshold and every feature.",
        "After rescale, padding and localizers left out, over the series: no value below -500 HU (any usual "
        "field of view holds air), values below -3100 or above 32767 HU, a mean above 500 HU, or all values "
        "from 0 to 255. Real series had means from -680 to -120 HU and minima from -1024 to -896. A small "
        "field of view inside the body may have no air: look. The value is the one that broke the rule.",
        "Compare with another series of the same device; leave it out where values count.",
        by_query(_CT, "series"),
        pixels=True,
    ),
)
