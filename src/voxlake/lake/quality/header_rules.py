"""Rules about what headers say: modality, body part, what physics needs."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from voxlake.lake.quality.body_parts import contradicts
from voxlake.lake.quality.rule import Found, Rule, Scope, by_query

__all__ = ["HEADER_RULES", "MODALITIES"]

_ROOT = "1.2.840.10008.5.1.4.1.1."
# SOP Classes that are made for one kind of device (PS3.3, "Modality" of each IOD).
MODALITIES = MappingProxyType(
    {
        **dict.fromkeys(("1",), ("CR",)),
        **dict.fromkeys(("1.1", "1.1.1"), ("DX", "PX")),
        **dict.fromkeys(("1.2", "1.2.1", "13.1.3", "13.1.4", "13.1.5"), ("MG",)),
        **dict.fromkeys(("1.3", "1.3.1"), ("IO",)),
        **dict.fromkeys(("2", "2.1", "2.2"), ("CT",)),
        **dict.fromkeys(("3", "3.1", "6", "6.1", "6.2"), ("US", "IVUS")),
        **dict.fromkeys(("4", "4.1", "4.2", "4.3", "4.4"), ("MR",)),
        **dict.fromkeys(("12.1", "12.1.1", "12.2", "12.2.1", "13.1.1"), ("XA", "RF")),
        **dict.fromkeys(("20",), ("NM",)),
        **dict.fromkeys(("128", "128.1", "130"), ("PT",)),
        **dict.fromkeys(("66.4",), ("SEG",)),
        **dict.fromkeys(("77.1.6",), ("SM",)),
        **dict.fromkeys(("481.1",), ("RTIMAGE",)),
        **dict.fromkeys(("481.2",), ("RTDOSE",)),
        **dict.fromkeys(("481.3",), ("RTSTRUCT",)),
        **dict.fromkeys(("481.5",), ("RTPLAN",)),
    }
)
_CLASSES = ", ".join(f"('{_ROOT}{number}', '{one}')" for number, names in MODALITIES.items() for one in names)
_OF_SERIES = "select series_instance_uid as subject, any_value(members_digest) as content"

_MODALITY_WRONG = f"""
with allowed as (
    select sop_class_uid, list(modality) as modalities
    from (values {_CLASSES}) as made(sop_class_uid, modality) group by 1
)
select instances.series_instance_uid as subject, null::varchar as content, count(*) as value,
       'Modality ' || any_value(instances.modality) || ' in objects made for '
       || array_to_string(any_value(allowed.modalities), ' or ') as detail
from {{instances}} as instances join allowed using (sop_class_uid)
where instances.modality is not null and not list_contains(allowed.modalities, instances.modality)
group by 1
"""

_POSITIONS = (
    "HFP", "HFS", "HFDR", "HFDL", "HFV", "HFI", "FFP", "FFS", "FFDR", "FFDL", "FFV", "FFI",
    "LFP", "LFS", "LFDR", "LFDL", "RFP", "RFS", "RFDR", "RFDL", "AFP", "AFS", "AFDR", "AFDL",
    "PFP", "PFS", "PFDR", "PFDL",
)  # fmt: skip

_PET = """
with inputs as (
    select series_instance_uid, units,
        max(patient_weight) > 0 as weight, max(radionuclide_total_dose) > 0 as dose,
        max(radionuclide_half_life) > 0 as half_life, max(injection_to_scan) is not null as injection,
        bool_or(tags like '%"70531000"%' or tags like '%"70531009"%') as philips,
        any_value(decay_correction) as correction
    from {instances} as instances
    where modality = 'PT' and pixel_offset is not null group by all
),
lacking as (
    select series_instance_uid, list_filter([
        case when not coalesce(weight, false) then 'weight' end,
        case when not coalesce(dose, false) then 'dose' end,
        case when not coalesce(half_life, false) then 'half-life' end,
        case when not injection and correction is distinct from 'ADMIN' then 'time of injection' end,
        case when correction = 'NONE' then 'decay correction' end,
        case when units is null then 'unit' end,
        case when units = 'CNTS' and not philips then 'factor from counts' end
    ], lambda x: x is not null) as missing
    from inputs where units is distinct from 'GML'
)
select series_instance_uid as subject, len(missing) as value,
       'for SUV there is no ' || array_to_string(missing, ', no ') as detail
from lacking where len(missing) > 0
"""


def _body_part_wrong(scope: Scope) -> Iterable[Found]:
    rows = scope.rows(
        "select series_instance_uid, body_part_examined, study_description, series_description, "
        "protocol_name, "
        "view_position from {series} as series where body_part_examined is not null"
    )
    for row in rows:
        texts = [row[name] for name in ("series_description", "protocol_name", "study_description")]
        other = contradicts(row["body_part_examined"], texts, row["view_position"])
        if other:
            stated = f"BodyPartExamined says {row['body_part_examined']}"
            detail = f"{stated}, the descriptions say {' and '.join(other)}"
            yield Found("series", row["series_instance_uid"], None, detail)


HEADER_RULES = (
    Rule(
        "modality_missing",
        "error",
        "series",
        "No Modality",
        "Every selection begins with the modality; a series without one is never found, or found by all.",
        "Series of images without Modality, be it in the header or from a mapping. The value is the number "
        "of images.",
        'State it in the mapping at ingest (`modality = "DX"`), or select by other columns.',
        by_query(
            "select series_instance_uid as subject, images as value, 'no Modality' as detail "
            "from {series} as series where modality is null and images > 0",
            "series",
        ),
    ),
    Rule(
        "modality_wrong",
        "error",
        "series",
        "Modality contradicts the kind of object",
        "A CT that says MR is rescaled, windowed and learned from as an MR.",
        "Modality against the SOP Class, for classes that belong to one kind of device (PS3.3). The value is "
        "the number of objects.",
        "Trust the SOP Class; find out which system rewrote the header.",
        by_query(_MODALITY_WRONG, "series"),
    ),
    Rule(
        "secondary_capture",
        "info",
        "series",
        "A secondary capture that claims a device",
        "A secondary capture holds a picture of an image: often 8 bits after a window, without physical "
        "values, without pixel spacing, and with anything that was on the screen. The public NIH chest "
        "X-rays, wrapped as DICOM, are of this kind.",
        "SOP Class Secondary Capture with the Modality of a device (CR, CT, DX, MG, MR, NM, PT, RF, US, XA). "
        "The value is the number of objects.",
        "Keep them apart from originals when values count.",
        by_query(
            "select series_instance_uid as subject, count(*) as value, "
            "'a secondary capture with Modality ' || any_value(modality) as detail "
            "from {instances} as instances where sop_class_uid like '1.2.840.10008.5.1.4.1.1.7%' "
            "and regexp_full_match(sop_class_uid, '1\\.2\\.840\\.10008\\.5\\.1\\.4\\.1\\.1\\.7(\\.[1-4])?') "
            "and modality in ('CR', 'CT', 'DX', 'MG', 'MR', 'NM', 'PT', 'RF', 'US', 'XA') group by 1",
            "series",
        ),
    ),
    Rule(
        "body_part_missing",
        "info",
        "series",
        "No body part",
        "A cohort of chests misses the chests that do not say so.",
        "Series of CR, CT, DX, MG, MR, NM, PT, RF, US, XA without BodyPartExamined, be it in the header or "
        "from a mapping. The value is the number of images.",
        "State it in the mapping, or select by descriptions as well.",
        by_query(
            "select series_instance_uid as subject, images as value, 'no BodyPartExamined' as detail "
            "from {series} as series where body_part_examined is null and images > 0 "
            "and modality in ('CR', 'CT', 'DX', 'MG', 'MR', 'NM', 'PT', 'RF', 'US', 'XA')",
            "series",
        ),
    ),
    Rule(
        "body_part_wrong",
        "warning",
        "series",
        "Body part contradicts the descriptions",
        "BodyPartExamined is preset on many devices and stays when another protocol is chosen: of "
        "radiographs in routine 15 % had a wrong one (Güld et al., Quality of DICOM header information for "
        "image "
        "categorization, SPIE Medical Imaging 2002).",
        "A written table of words (`voxlake.lake.quality.body_parts`) turns BodyPartExamined, the "
        "descriptions, the protocol and the view into regions; found where both name some and none agree.",
        "Look at an image. Select by what you see, not by the header.",
        _body_part_wrong,
    ),
    Rule(
        "patient_position_wrong",
        "warning",
        "series",
        "PatientPosition is no position",
        "PatientPosition says how a patient lies in the gantry. A view (PA, AP) in its place is lost to "
        "those who look for ViewPosition; the public NIH chest X-rays, wrapped as DICOM, have it so.",
        "PatientPosition that is none of the terms of PS3.3 C.7.3.1.1.2. The value is the number of objects.",
        "Read the view from here, and leave PatientPosition out of any reasoning.",
        by_query(
            "select series_instance_uid as subject, count(*) as value, "
            "'PatientPosition is ' || any_value(patient_position) as detail from {instances} as instances "
            f"where patient_position not in {_POSITIONS} group by 1",
            "series",
        ),
    ),
    Rule(
        "patient_age_malformed",
        "info",
        "series",
        "PatientAge without a unit",
        "81 may be years, months or days; software that expects three digits and a unit reads nothing.",
        "PatientAge that is not three digits and D, W, M or Y (PS3.5 6.2).",
        "Bring the age as a label, or read it with the unit that the source meant.",
        by_query(
            "select series_instance_uid as subject, try_cast(patient_age as double) as value, "
            "'PatientAge is not three digits and a unit' as detail from {series} as series "
            "where not regexp_full_match(patient_age, '[0-9]{3}[DWMY]')",
            "series",
        ),
    ),
    Rule(
        "ct_without_rescale",
        "error",
        "series",
        "CT without rescale",
        "Without RescaleSlope and RescaleIntercept stored values are no Hounsfield units.",
        "CT images, localizers left out, without one of the two. The value is the number of images.",
        "Leave it out where values count; do not guess the intercept.",
        by_query(
            "select series_instance_uid as subject, count(*) as value, "
            "count(*) || ' CT images without rescale' as detail "
            "from {instances} as instances where modality = 'CT' and format = 'dicom' "
            "and pixel_offset is not null and number_of_frames = 1 "
            "and not coalesce(list_contains(image_type, 'LOCALIZER'), false) "
            "and (rescale_slope is null or rescale_intercept is null) group by 1",
            "series",
        ),
    ),
    Rule(
        "pet_without_suv_inputs",
        "warning",
        "series",
        "PET without what SUV needs",
        "A standardised uptake value needs the injected dose, its half-life, the weight of the patient and "
        "the time from injection to scan. Without one of them activity cannot be compared between patients.",
        "Per series of PET images not already in g/ml: weight, dose and half-life above 0; the time of "
        "injection, unless decay is corrected to the administration; the decay correction; the unit; for "
        "counts the vendor's factor. They are read before de-identification moves dates. The value is the "
        "number of missing inputs.",
        "Ask the source for the inputs. Do not fill in typical doses or weights.",
        by_query(_PET, "series"),
    ),
)
