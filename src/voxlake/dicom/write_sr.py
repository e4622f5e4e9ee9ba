"""Measurements of segments to a structured report (PS3.16 TID 1500 and TID 1411; highdicom)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid
from voxlake.core.volume import Label
from voxlake.dicom.codes import Code
from voxlake.dicom.guard import quiet
from voxlake.dicom.write_common import MAKER, Sources, derived_uid, to_bytes

if TYPE_CHECKING:
    from highdicom.sr import VolumetricROIMeasurementsAndQualitativeEvaluations

__all__ = ["Measured", "first_order", "write_sr"]

_NO_UNIT = Code("1", "UCUM", "no units")
_MILLILITRE = Code("mL", "UCUM", "milliliter")
_VOLUME = Code("118565006", "SCT", "Volume")
# What the values of a volume are, and in what unit (PS3.16 CID 7180 and CID 85).
_QUANTITIES = MappingProxyType(
    {
        "HU": (Code("112031", "DCM", "Attenuation Coefficient"), Code("[hnsf'U]", "UCUM", "Hounsfield unit")),
        "SUVbw": (Code("126401", "DCM", "SUVbw"), Code("{SUVbw}g/ml", "UCUM", "Standardized Uptake Value")),
        "Bq/ml": (
            Code("110820", "DCM", "Nuclear Medicine Tomographic Activity"),
            Code("Bq/ml", "UCUM", "Becquerels/milliliter"),
        ),
    }
)
_INTENSITY = Code("intensity", "99VOXLAKE", "Intensity")
_DERIVATIONS = MappingProxyType(
    {
        "mean": Code("373098007", "SCT", "Mean"),
        "standard deviation": Code("386136009", "SCT", "Standard Deviation"),
        "minimum": Code("255605001", "SCT", "Minimum"),
        "maximum": Code("56851009", "SCT", "Maximum"),
    }
)


@dataclass(frozen=True)
class Measured:
    """One number about one segment.

    Parameters
    ----------
    segment : int
        Number of the segment in the segmentation.
    name : Code
        What was measured.
    value : float
        The number.
    unit : Code
        In UCUM.
    derivation : Code or None
        How it was condensed, for example the mean.
    """

    segment: int
    name: Code
    value: float
    unit: Code = _NO_UNIT
    derivation: Code | None = None


def first_order(
    segment: int, values: NDArray[Any], inside: NDArray[np.bool_], grid: Grid, unit: str
) -> list[Measured]:
    """Measure a segment: its volume, and the values under it.

    Parameters
    ----------
    segment : int
        Its number.
    values, inside : array
        The image and the segment, of the shape of the grid.
    grid : Grid
        A flat one has no volume.
    unit : str
        Of the image, as in `voxlake.core.volume.Volume`.

    Returns
    -------
    list of Measured
        Volume in ml; mean, standard deviation (of all voxels, not of a sample), minimum and maximum. Without
        voxels the volume alone.
    """
    count = int(np.count_nonzero(inside))
    found = []
    if not grid.flat:
        found.append(Measured(segment, _VOLUME, count * grid.voxel_volume / 1000, _MILLILITRE))
    if count == 0:
        return found
    name, ucum = _QUANTITIES.get(unit, (_INTENSITY, _NO_UNIT))
    under = np.asarray(values[inside], dtype=np.float64)
    numbers = (under.mean(), under.std(), under.min(), under.max())
    for derivation, number in zip(_DERIVATIONS.values(), numbers, strict=True):
        found.append(Measured(segment, name, float(number), ucum, derivation))
    return found


def write_sr(
    labels: Sequence[Label],
    measured: Sequence[Measured],
    segmentation: Dataset,
    sources: Sources,
    *,
    uids: tuple[str, str],
) -> bytes:
    """Write measurements as a Comprehensive SR document of template TID 1500.

    Parameters
    ----------
    labels : sequence of Label
        The segments, whose values are their numbers in the segmentation.
    measured : sequence of Measured
        The numbers; a segment without any is named nevertheless.
    segmentation : Dataset
        The segmentation that was measured, from `write_seg`.
    sources : Sources
        The images that were measured.
    uids : tuple of str
        SOPInstanceUID and SeriesInstanceUID.

    Raises
    ------
    ItemError
        ``unsupported_mask``: no document can be written about these segments.
    """
    # Start-up: half a second that only those who write documents pay.
    from highdicom.sr import (
        ComprehensiveSR,
        DeviceObserverIdentifyingAttributes,
        MeasurementReport,
        ObservationContext,
        ObserverContext,
    )
    from pydicom.sr.codedict import codes

    device = DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", MAKER, version("voxlake")), name=MAKER, model_name=MAKER
    )
    with quiet():
        try:
            report = MeasurementReport(
                observation_context=ObservationContext(
                    observer_device_context=ObserverContext(codes.DCM.Device, device)
                ),
                procedure_reported=codes.LN.CTUnspecifiedBodyRegion
                if sources.images[0].Modality == "CT"
                else codes.SCT.ImagingProcedure,
                imaging_measurements=[
                    _group(label, [m for m in measured if m.segment == label.value], segmentation, sources)
                    for label in labels
                ],
                title=codes.DCM.ImagingMeasurementReport,
            )
            made = ComprehensiveSR(
                evidence=[segmentation, *sources.images],
                content=report[0],
                series_instance_uid=uids[1],
                series_number=1,
                sop_instance_uid=uids[0],
                instance_number=1,
                manufacturer=MAKER,
                is_complete=True,
                is_final=False,
                is_verified=False,
            )
        except (ValueError, TypeError, AttributeError) as error:
            raise ItemError("unsupported_mask", f"no document could be written: {error}") from error
        return to_bytes(made)


def _group(
    label: Label, measured: Sequence[Measured], segmentation: Dataset, sources: Sources
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    from highdicom.sr import (
        Measurement,
        ReferencedSegment,
        SourceImageForSegmentation,
        TrackingIdentifier,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )

    name = label.name or f"segment {label.value}"
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=derived_uid(segmentation.SOPInstanceUID, str(label.value)), identifier=name[:64]
        ),
        referenced_segment=ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=label.value,
            source_images=[
                SourceImageForSegmentation(one.sop_class_uid, one.sop_instance_uid)
                for one in sources.references
            ],
        ),
        finding_type=None if label.code is None else _coded(Code(*label.code, name[:64])),
        measurements=[
            Measurement(
                name=_coded(one.name),
                value=_shortened(one.value),
                unit=_coded(one.unit),
                derivation=None if one.derivation is None else _coded(one.derivation),
            )
            for one in measured
        ],
    )


def _coded(code: Code) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)


def _shortened(value: float) -> float:
    # A decimal string has 16 characters; ten digits say all that was measured.
    return float(f"{value:.10g}")
