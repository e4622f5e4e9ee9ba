"""What tells images at one place apart and has no column of its own: times of the heart, kinds of frame.

In multi-frame objects also what has a column, if it differs from frame to frame.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from voxlake.dicom.elements import items, number, numbers, texts
from voxlake.dicom.frames import FrameGroups

__all__ = ["frame_values"]

Reader = Callable[[Dataset, str], Any]

# Terms of image and frame types (PS3.3 sections C.7.6.1.1.2, C.8.3.1, C.8.13.3, C.8.16.1 and what scanners
# write). Others are left out: the element may hold anything, and these values pass by de-identification.
_TERMS = frozenset(
    {
        "ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY", "MIXED", "NONE", "M", "P", "R", "I", "MAGNITUDE",
        "PHASE", "REAL", "IMAGINARY", "FIELD_MAP", "B0", "B1", "PHASE_MAP", "VELOCITY", "VELOCITY_MAP", "T1",
        "T2", "T2_STAR", "T1_MAP", "T2_MAP", "T2_STAR_MAP", "PROTON_DENSITY", "DIFFUSION", "ADC", "FA",
        "TRACE", "TRACEW", "ISOTROPIC", "ANISOTROPIC", "COLFA", "TENSOR", "PERFUSION", "TTP", "CBV", "CBF",
        "MTT", "WATER", "FAT", "IN_PHASE", "OUT_PHASE", "IN_OUT", "FFE", "SE", "IR", "TOF", "FLOW_ENCODED",
        "TAGGING", "STIR", "FLUID_ATTENUATED", "AXIAL", "LOCALIZER", "VOLUME", "ATTENUATION", "MIN_IP",
        "MAX_IP", "MEAN", "REFORMATTED",
    }
)  # fmt: skip

_TYPES = ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence")


def _terms(item: Dataset, keyword: str) -> str | None:
    known = [value if value in _TERMS else "" for value in texts(item, keyword) or []]
    return "\\".join(known) if any(known) else None


def _direction(item: Dataset, keyword: str) -> list[float] | None:
    inner = items(item, "DiffusionGradientDirectionSequence")
    return numbers(inner[0], keyword, 3) if inner else None


# Name -> (macros of the functional groups, keyword, reader). Without a macro: the top level.
_VALUES: Mapping[str, tuple[tuple[str, ...], str, Reader]] = MappingProxyType(
    {
        "frame_type": (_TYPES, "FrameType", _terms),
        "complex_component": (_TYPES[:1], "ComplexImageComponent", _terms),
        "echo_time": (("MREchoSequence",), "EffectiveEchoTime", number),
        "inversion_time": (("MRModifierSequence",), "InversionTimes", number),
        "flip_angle": (("MRTimingAndRelatedParametersSequence",), "FlipAngle", number),
        "kvp": (("CTXRayDetailsSequence",), "KVP", number),
        "diffusion_b_value": (("MRDiffusionSequence",), "DiffusionBValue", number),
        "diffusion_gradient": (("MRDiffusionSequence",), "DiffusionGradientOrientation", _direction),
        "temporal_position": (("FrameContentSequence",), "TemporalPositionIndex", number),
        "cardiac_phase": (("CardiacSynchronizationSequence",), "NominalPercentageOfCardiacPhase", number),
        "trigger_delay": (("CardiacSynchronizationSequence",), "NominalCardiacTriggerDelayTime", number),
        "respiratory_phase": (
            ("RespiratorySynchronizationSequence",),
            "NominalPercentageOfRespiratoryPhase",
            number,
        ),
        "acquisition_number": (("FrameContentSequence",), "FrameAcquisitionNumber", number),
        "segment": (("SegmentIdentificationSequence",), "ReferencedSegmentNumber", number),
        "trigger_time": ((), "TriggerTime", number),
        "frame_reference_time": ((), "FrameReferenceTime", number),
    }
)
# These say where a frame lies, not which volume it belongs to.
_PLACES = frozenset({"InStackPositionNumber", "ImagePositionPatient", "ImageOrientationPatient"})


def frame_values(dataset: Dataset, groups: FrameGroups) -> str | None:
    """Read the values as JSON: name to a value, or to a list with one for each frame where they differ.

    Numbers are in the unit of their element (times in ms). ``dimension_N`` is the place along the N-th
    dimension (DimensionIndexValues) where the dimension is not the place in space. Never text of the
    object's author: types are taken from a list of terms.

    Returns
    -------
    str or None
        None if there is nothing.
    """
    found: dict[str, Any] = {}
    for name, (macros, keyword, read) in _VALUES.items():
        values = _each(groups, macros, keyword, read) or [_top(dataset, macros, keyword, read)]
        found |= _told(name, values)
    found |= _dimensions(dataset, groups)
    return json.dumps(found, sort_keys=True) if found else None


def _each(groups: FrameGroups, macros: tuple[str, ...], keyword: str, read: Reader) -> list[Any]:
    """One value for every frame; empty if no frame has one."""
    if not groups or not macros:
        return []

    def at(group: Dataset | None) -> Any:
        inner = (items(group, macro) for macro in macros) if group is not None else ()
        values = (read(each[0], keyword) for each in inner if each)
        return next((value for value in values if value is not None), None)

    shared = at(groups.shared)
    values = [at(frame) for frame in groups.frames] if shared is None else [shared]
    return values if any(value is not None for value in values) else []


def _top(dataset: Dataset, macros: tuple[str, ...], keyword: str, read: Reader) -> Any:
    # What classic objects hold at the top has columns of its own, but for these.
    classic = not macros or keyword in ("ComplexImageComponent", "NominalPercentageOfCardiacPhase")
    return read(dataset, keyword) if classic else None


def _told(name: str, values: list[Any]) -> dict[str, Any]:
    if all(value == values[0] for value in values):
        return {} if values[0] is None else {name: values[0]}
    return {name: values}


def _dimensions(dataset: Dataset, groups: FrameGroups) -> dict[str, Any]:
    pointers = [number(item, "DimensionIndexPointer") for item in items(dataset, "DimensionIndexSequence")]
    content = [items(frame, "FrameContentSequence") for frame in groups.frames]
    indices = [numbers(item[0], "DimensionIndexValues", len(pointers)) if item else None for item in content]
    if not pointers or not indices or any(index is None for index in indices):
        return {}
    columns = zip(*[index for index in indices if index is not None], strict=True)
    found: dict[str, Any] = {}
    for place, (pointer, values) in enumerate(zip(pointers, columns, strict=True), start=1):
        keyword = keyword_for_tag(int(pointer)) if pointer is not None else ""
        differs = any(value != values[0] for value in values)
        if keyword not in _PLACES and differs:
            found[f"dimension_{place}"] = list(values)
    return found
