"""Physics that de-identification takes away, read from the original.

Diffusion and mosaics live in private elements, times of injection in dates: both are gone or changed once
the object lies in the lake, so their numbers go into columns of their own first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from voxlake.dicom.elements import items, number, numbers, private, raw_values, texts, whole
from voxlake.dicom.frame_values import frame_values
from voxlake.dicom.frames import FrameGroups, frame_groups
from voxlake.dicom.guard import quiet
from voxlake.dicom.mosaic import SLICE_NORMAL, mosaic_geometry
from voxlake.dicom.siemens import csa_values
from voxlake.dicom.suv import SUV_COLUMNS, suv_factors
from voxlake.dicom.times import injection_to_scan

__all__ = ["PHYSICS", "read_physics"]

PHYSICS = (
    "diffusion_b_value",
    "diffusion_gradient",
    "mosaic_tiles",
    "mosaic_layout",
    "mosaic_positions",
    "frame_values",
    "radionuclide_total_dose",
    "radionuclide_half_life",
    "injection_to_scan",
    *SUV_COLUMNS,
)

_CSA = frozenset({"B_value", "DiffusionGradientDirection", "NumberOfImagesInMosaic", SLICE_NORMAL})


def read_physics(dataset: Dataset) -> dict[str, Any]:
    """Read the columns of `PHYSICS` from one object; None where there is no value.

    Returns
    -------
    dict
        ``diffusion_b_value`` in s/mm2: the standard element (top level, or functional groups if all frames
        agree), else Siemens (0019,xx0C) or CSA header, Philips (2001,xx03), UIH (0065,xx09), GE (0043,xx39).
        ``diffusion_gradient``: unit vector in the patient frame (LPS); None where the device gives it in
        a frame of its own (GE) or the b-value is 0. ``mosaic_tiles``: number of slices tiled into one image
        by Siemens or UIH; None elsewhere. ``mosaic_layout``, ``mosaic_positions``: see
        `voxlake.dicom.mosaic`. ``frame_values``: see `voxlake.dicom.frame_values`.
        ``radionuclide_total_dose`` and ``radionuclide_half_life`` as stated (Bq, s).
        ``injection_to_scan`` in s, see `voxlake.dicom.times.injection_to_scan`. The factors to SUV, see
        `voxlake.dicom.suv.suv_factors`: they hold weight and height, which many policies take away.
    """
    with quiet():
        groups = frame_groups(dataset)
        csa = _csa(dataset)
        drug = items(dataset, "RadiopharmaceuticalInformationSequence")
        seconds = injection_to_scan(dataset, drug[0]) if drug else None
        tiles = _mosaic_tiles(dataset, csa)
        return {
            "diffusion_b_value": _b_value(dataset, groups, csa),
            "diffusion_gradient": _gradient(dataset, groups, csa),
            "mosaic_tiles": tiles,
            **mosaic_geometry(dataset, tiles, _floats(csa.get(SLICE_NORMAL))),
            "frame_values": frame_values(dataset, groups),
            "radionuclide_total_dose": number(drug[0], "RadionuclideTotalDose") if drug else None,
            "radionuclide_half_life": number(drug[0], "RadionuclideHalfLife") if drug else None,
            "injection_to_scan": seconds,
            **suv_factors(dataset, seconds),
        }


def _b_value(dataset: Dataset, groups: FrameGroups, csa: dict[str, list[str]]) -> float | None:
    readers: tuple[Callable[[], float | None], ...] = (
        lambda: groups.common("DiffusionBValue", number),
        lambda: number(dataset, "DiffusionBValue"),
        lambda: _private_number(dataset, 0x0019, "SIEMENS MR HEADER", 0x0C),
        lambda: _as_float(csa.get("B_value")),
        lambda: _private_number(dataset, 0x2001, "Philips Imaging DD 001", 0x03),
        lambda: _private_number(dataset, 0x0065, "Image Private Header", 0x09),
        lambda: _ge_b_value(dataset),
    )
    values = (read() for read in readers)
    return next((value for value in values if value is not None and value >= 0), None)


def _ge_b_value(dataset: Dataset) -> float | None:
    value = _private_number(dataset, 0x0043, "GEMS_PARM_01", 0x39)
    directions = _private_number(dataset, 0x0019, "GEMS_ACQU_01", 0xE0)
    if value is None:
        return None
    # Newer software adds 10^9 as a flag. GE writes 0 into every MR image, so 0 says b = 0 only in a series
    # that has directions.
    b_value = value % 100000
    return b_value if b_value > 0 or (directions or 0) > 0 else None


def _gradient(dataset: Dataset, groups: FrameGroups, csa: dict[str, list[str]]) -> list[float] | None:
    candidates = (
        groups.common("DiffusionGradientOrientation", _direction_of_item),
        numbers(dataset, "DiffusionGradientOrientation", 3),
        _private_triple(dataset, 0x0019, "SIEMENS MR HEADER", 0x0E),
        _floats(csa.get("DiffusionGradientDirection")),
        _uih_gradient(dataset),
    )
    found = next((value for value in candidates if value is not None and len(value) == 3), None)
    return found if found is not None and any(found) else None


def _uih_gradient(dataset: Dataset) -> list[float] | None:
    # UIH states it along row direction, column direction and normal (so dcm2niix reads it).
    along = _private_triple(dataset, 0x0065, "Image Private Header", 0x37)
    cosines = numbers(dataset, "ImageOrientationPatient", 6)
    if along is None or cosines is None:
        return None
    right, down = np.array(cosines[:3]), np.array(cosines[3:])
    axes = np.array([right, down, np.cross(right, down)])
    return [float(part) for part in np.array(along) @ axes]


def _direction_of_item(diffusion: Dataset, keyword: str) -> list[float] | None:
    directions = items(diffusion, "DiffusionGradientDirectionSequence")
    return numbers(directions[0], keyword, 3) if directions else None


def _mosaic_tiles(dataset: Dataset, csa: dict[str, list[str]]) -> int | None:
    siemens = private(dataset, 0x0019, "SIEMENS MR HEADER", 0x0A)
    grid = private(dataset, 0x0065, "Image Private Header", 0x50)
    found = [
        whole(dataset, siemens) if siemens is not None else None,
        _as_float(csa.get("NumberOfImagesInMosaic"))
        if "MOSAIC" in (texts(dataset, "ImageType") or [])
        else None,
        whole(dataset, grid) if grid is not None else None,
    ]
    tiles = next((int(value) for value in found if value is not None), None)
    return tiles if tiles is not None and tiles > 1 else None


def _csa(dataset: Dataset) -> dict[str, list[str]]:
    tag = private(dataset, 0x0029, "SIEMENS CSA HEADER", 0x10)
    if tag is None:
        return {}
    values = raw_values(dataset, tag)
    return csa_values(values[0], _CSA) if values and isinstance(values[0], bytes) else {}


def _private_number(dataset: Dataset, group: int, creator: str, element: int) -> float | None:
    tag = private(dataset, group, creator, element)
    return number(dataset, tag) if tag is not None else None


def _private_triple(dataset: Dataset, group: int, creator: str, element: int) -> list[float] | None:
    tag = private(dataset, group, creator, element)
    return numbers(dataset, tag, 3) if tag is not None else None


def _floats(values: list[str] | None) -> list[float] | None:
    try:
        return [float(value) for value in values] if values else None
    except ValueError:
        return None


def _as_float(values: list[str] | None) -> float | None:
    floats = _floats(values)
    return floats[0] if floats else None
