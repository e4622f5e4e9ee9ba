"""Standardised uptake values: what one has to multiply the values of a PET image with.

Sources: PS3.3 section C.8.9.1 (PET Series: Units, SUV Type, Decay Correction) and context group 85 (PS3.16)
for the kinds; the vendor-neutral pseudo-code of the Quantitative Imaging Biomarkers Alliance (FDG-PET/CT
profile) for decay and for the scale factors of Philips; Janmahasatian et al. 2005
(doi:10.2165/00003088-200544100-00004) and James 1976 for lean body mass; Du Bois 1916 for body surface;
the rule that Sugawara et al. 1999 use for ideal body weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydicom.dataset import Dataset

from voxlake.core.volume import Unit, Volume
from voxlake.dicom.elements import items, number, private, text

__all__ = ["SUV_COLUMNS", "as_measured", "suv_factors"]

SUV_COLUMNS: Mapping[str, Unit] = MappingProxyType(
    {
        "suv_bw_factor": "SUVbw",
        "suv_lbm_janma_factor": "SUVlbm(Janma)",
        "suv_lbm_james128_factor": "SUVlbm(James128)",
        "suv_bsa_factor": "SUVbsa",
        "suv_ibw_factor": "SUVibw",
    }
)
"""Column of `instances` -> unit that its factor leads to."""

_PHILIPS = "Philips PET Private Group"
# An absent type means body weight (PS3.3 section C.8.9.1). Plain LBM is left out: which formula a device
# means by it is not said.
_SUV_TYPES: Mapping[str, Unit] = MappingProxyType(
    {
        "": "SUVbw",
        "BW": "SUVbw",
        "LBMJANMA": "SUVlbm(Janma)",
        "LBMJAMES128": "SUVlbm(James128)",
        "BSA": "SUVbsa",
        "IBW": "SUVibw",
    }
)
# Two slices of one series may state their dose with other digits.
_SAME = 1e-6
_LONGEST_DECAY = 100.0


def suv_factors(dataset: Dataset, injection_to_scan: float | None) -> dict[str, float | None]:
    """Read the factors from values after rescale to SUV, one for each kind.

    Parameters
    ----------
    dataset : Dataset
        The object before de-identification.
    injection_to_scan : float or None
        Seconds, from `voxlake.dicom.times.injection_to_scan`.

    Returns
    -------
    dict
        Keys of `SUV_COLUMNS`. None where something is missing: for all kinds weight, dose, half-life or
        time (unless the values are corrected to the injection, or are SUV already); for all kinds but body
        weight also height, for lean and ideal weight also the sex (M or F).
    """
    masses = _masses(dataset)
    found = _known_factor(dataset, injection_to_scan)
    kinds = dict.fromkeys(SUV_COLUMNS.values()) if text(dataset, "Modality") != "PT" else masses
    if found is None:
        return dict.fromkeys(SUV_COLUMNS)
    kind, factor = found
    base = kinds.get(kind)
    if base is None:
        # Only its own kind can be told, which needs no body.
        return {column: factor if unit == kind else None for column, unit in SUV_COLUMNS.items()}
    return {
        column: None if mass is None else factor * mass / base
        for column, mass in ((column, kinds[unit]) for column, unit in SUV_COLUMNS.items())
    }


def as_measured(volume: Volume, rows: Sequence[Mapping[str, Any]]) -> Volume:
    """Give a PET volume its unit and its factors to SUV.

    Parameters
    ----------
    volume : Volume
        Values after rescale.
    rows : sequence of mapping
        Rows of `instances` that the volume was made from.

    Returns
    -------
    Volume
        Unit ``"Bq/ml"`` for BQML, the SUV of its type for GML and CM2ML, unchanged otherwise; a factor for
        each kind of SUV that all slices agree on.
    """
    if not rows or any(row.get("modality") != "PT" for row in rows) or volume.channels != 1:
        return volume
    units = {_unit_of(row) for row in rows}
    unit: Unit = units.pop() if len(units) == 1 and volume.unit == "arbitrary" else volume.unit
    factors = {
        target: rows[0][column]
        for column, target in SUV_COLUMNS.items()
        if target != unit and _agree([row.get(column) for row in rows])
    }
    return volume.measured(unit, factors)


def _unit_of(row: Mapping[str, Any]) -> Unit:
    match row.get("units"):
        case "BQML":
            return "Bq/ml"
        case "GML":
            kind = _SUV_TYPES.get(row.get("suv_type") or "", "arbitrary")
            return "arbitrary" if kind == "SUVbsa" else kind
        case "CM2ML":
            return "SUVbsa" if row.get("suv_type") in (None, "BSA") else "arbitrary"
    return "arbitrary"


def _agree(factors: Sequence[float | None]) -> bool:
    known = [factor for factor in factors if factor is not None]
    return len(known) == len(factors) and max(known) - min(known) <= _SAME * abs(known[0])


def _known_factor(dataset: Dataset, seconds: float | None) -> tuple[Unit, float] | None:
    """A kind of SUV and the factor that leads to it."""
    units = text(dataset, "Units")
    if units in ("GML", "CM2ML"):
        kind = _unit_of({"units": units, "suv_type": text(dataset, "SUVType")})
        return None if kind == "arbitrary" else (kind, 1.0)
    if units == "CNTS":
        direct = _philips(dataset, 0x00)
        if direct is not None:
            return "SUVbw", direct
        activity = _philips(dataset, 0x09)
    else:
        activity = 1.0 if units == "BQML" else None
    weight, dose = number(dataset, "PatientWeight"), _dose_at_reference(dataset, seconds)
    if activity is None or weight is None or dose is None or weight <= 0:
        return None
    return "SUVbw", activity * weight * 1000 / dose


def _dose_at_reference(dataset: Dataset, seconds: float | None) -> float | None:
    """Activity (Bq) that is left of the injection at the time to which the values are corrected."""
    drugs = items(dataset, "RadiopharmaceuticalInformationSequence")
    dose = number(drugs[0], "RadionuclideTotalDose") if drugs else None
    if dose is None or dose <= 0:
        return None
    correction = text(dataset, "DecayCorrection")
    if correction == "ADMIN":
        return dose
    half_life = number(drugs[0], "RadionuclideHalfLife")
    if correction != "START" or seconds is None or half_life is None or half_life <= 0:
        return None
    lives = seconds / half_life
    return dose * 2**-lives if lives < _LONGEST_DECAY else None


def _philips(dataset: Dataset, element: int) -> float | None:
    tag = private(dataset, 0x7053, _PHILIPS, element)
    value = number(dataset, tag) if tag is not None else None
    return value if value is not None and value > 0 else None


def _masses(dataset: Dataset) -> dict[Unit, float | None]:
    """What the dose is thought to be spread over: g, and square cm for the body surface."""
    weight, size = number(dataset, "PatientWeight"), number(dataset, "PatientSize")
    if weight is None or weight <= 0:
        return dict.fromkeys(SUV_COLUMNS.values())
    masses: dict[Unit, float | None] = dict.fromkeys(SUV_COLUMNS.values())
    masses["SUVbw"] = weight * 1000
    # Some devices write centimetres.
    height = size if size is None or size < _TALLEST else size / 100
    if height is None or not _SHORTEST < height < _TALLEST:
        return masses
    centimetres = height * 100
    masses["SUVbsa"] = 71.84 * weight**0.425 * centimetres**0.725
    sex = text(dataset, "PatientSex")
    if sex is not None and sex in _LEAN:
        for unit, formula in _LEAN[sex].items():
            mass = formula(weight, centimetres)
            masses[unit] = mass * 1000 if mass > 0 else None
    return masses


_SHORTEST, _TALLEST = 0.2, 3.0

Formula = Callable[[float, float], float]
# Functions of weight (kg) and height (cm) that give kg.
_LEAN: Mapping[str, Mapping[Unit, Formula]] = MappingProxyType(
    {
        "M": {
            "SUVlbm(Janma)": lambda kg, cm: 9270 * kg / (6680 + 216 * kg / (cm / 100) ** 2),
            "SUVlbm(James128)": lambda kg, cm: 1.10 * kg - 128 * (kg / cm) ** 2,
            "SUVibw": lambda _, cm: 48.0 + 1.06 * (cm - 152),
        },
        "F": {
            "SUVlbm(Janma)": lambda kg, cm: 9270 * kg / (8780 + 244 * kg / (cm / 100) ** 2),
            "SUVlbm(James128)": lambda kg, cm: 1.07 * kg - 148 * (kg / cm) ** 2,
            "SUVibw": lambda _, cm: 45.5 + 0.91 * (cm - 152),
        },
    }
)
