"""Values of the frames of multi-frame objects (PS3.3 section C.7.6.16, functional groups)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

import numpy as np
from pydicom.dataset import Dataset

from voxlake.dicom.elements import items, number, numbers

__all__ = [
    "FrameGroups",
    "frame_count",
    "frame_groups",
    "frame_orientations",
    "frame_positions",
    "has_pixels",
]

Value = TypeVar("Value")

# Keyword of a classic object -> (macro, keyword) in the functional groups, PS3.3 section C.7.6.16.2 and
# the enhanced CT and MR modules.
MACROS = MappingProxyType(
    {
        "PixelSpacing": ("PixelMeasuresSequence", "PixelSpacing"),
        "SliceThickness": ("PixelMeasuresSequence", "SliceThickness"),
        "SpacingBetweenSlices": ("PixelMeasuresSequence", "SpacingBetweenSlices"),
        "ImagePositionPatient": ("PlanePositionSequence", "ImagePositionPatient"),
        "ImageOrientationPatient": ("PlaneOrientationSequence", "ImageOrientationPatient"),
        "RescaleSlope": ("PixelValueTransformationSequence", "RescaleSlope"),
        "RescaleIntercept": ("PixelValueTransformationSequence", "RescaleIntercept"),
        "RescaleType": ("PixelValueTransformationSequence", "RescaleType"),
        "WindowCenter": ("FrameVOILUTSequence", "WindowCenter"),
        "WindowWidth": ("FrameVOILUTSequence", "WindowWidth"),
        "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
        "RepetitionTime": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
        "FlipAngle": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
        "InversionTime": ("MRModifierSequence", "InversionTimes"),
        "DiffusionBValue": ("MRDiffusionSequence", "DiffusionBValue"),
        "DiffusionGradientOrientation": ("MRDiffusionSequence", "DiffusionGradientOrientation"),
        "KVP": ("CTXRayDetailsSequence", "KVP"),
        "Exposure": ("CTExposureSequence", "ExposureInmAs"),
        "ConvolutionKernel": ("CTReconstructionSequence", "ConvolutionKernel"),
        "GantryDetectorTilt": ("CTGeometrySequence", "GantryDetectorTilt"),
        "Laterality": ("FrameAnatomySequence", "FrameLaterality"),
        "TemporalPositionIdentifier": ("FrameContentSequence", "TemporalPositionIndex"),
        "AcquisitionNumber": ("FrameContentSequence", "FrameAcquisitionNumber"),
    }
)

_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)


@dataclass(frozen=True)
class FrameGroups:
    """The functional groups of an object: the shared item and one item for each frame."""

    shared: Dataset | None
    frames: tuple[Dataset, ...]

    def __bool__(self) -> bool:
        return self.shared is not None or bool(self.frames)

    def each(self, keyword: str, read: Callable[[Dataset, str], Value | None]) -> list[Value | None]:
        """One value for every frame; a shared value is repeated; empty if no frame has one.

        Parameters
        ----------
        keyword : str
            Keyword as in a classic object; a key of `MACROS`.
        read : callable
            ``read(item, keyword)``, one of `voxlake.dicom.elements`.
        """
        shared = self._read(self.shared, keyword, read)
        if shared is not None:
            return [shared] * max(1, len(self.frames))
        values = [self._read(item, keyword, read) for item in self.frames]
        return values if any(value is not None for value in values) else []

    def common(self, keyword: str, read: Callable[[Dataset, str], Value | None]) -> Value | None:
        """The value that all frames share, or None if they differ."""
        values = self.each(keyword, read)
        return values[0] if values and all(value == values[0] for value in values) else None

    @staticmethod
    def _read(
        group: Dataset | None, keyword: str, read: Callable[[Dataset, str], Value | None]
    ) -> Value | None:
        if group is None:
            return None
        macro, name = MACROS[keyword]
        found = items(group, macro)
        return read(found[0], name) if found else None


def frame_groups(dataset: Dataset) -> FrameGroups:
    """Functional groups of an object; empty (and false) for a classic one."""
    shared = items(dataset, "SharedFunctionalGroupsSequence")
    frames = items(dataset, "PerFrameFunctionalGroupsSequence")
    return FrameGroups(shared[0] if shared else None, tuple(frames))


def has_pixels(dataset: Dataset) -> bool:
    """Whether the object holds pixel data of any kind (integer, float or double)."""
    return any(tag in dataset for tag in _PIXELS)


def frame_count(dataset: Dataset) -> int | None:
    """NumberOfFrames, 1 where it is absent or not a number above 0, None without pixel data."""
    if not has_pixels(dataset):
        return None
    announced = number(dataset, "NumberOfFrames")
    return int(announced) if announced is not None and announced >= 1 else 1


def frame_positions(dataset: Dataset, groups: FrameGroups) -> list[float] | None:
    """ImagePositionPatient of every frame, end to end, in LPS mm; None unless every frame has one."""
    count = frame_count(dataset)
    if count is None or count < 2:
        return None
    if not groups:
        return _dose_positions(dataset, count)
    values = groups.each("ImagePositionPatient", _triple)
    if len(values) != count:
        return None
    return [part for value in values if value is not None for part in value] if all(values) else None


def frame_orientations(dataset: Dataset, groups: FrameGroups) -> list[float] | None:
    """ImageOrientationPatient of every frame, end to end; only six numbers if all are equal."""
    count = frame_count(dataset)
    if count is None or count < 2:
        return None
    if not groups:
        return numbers(dataset, "ImageOrientationPatient", 6)
    values = groups.each("ImageOrientationPatient", _six)
    if not values or not all(values):
        return None
    if all(value == values[0] for value in values):
        return values[0]
    if len(values) != count:
        return None
    return [part for value in values if value is not None for part in value]


def _triple(item: Dataset, keyword: str) -> list[float] | None:
    return numbers(item, keyword, 3)


def _six(item: Dataset, keyword: str) -> list[float] | None:
    return numbers(item, keyword, 6)


def _dose_positions(dataset: Dataset, count: int) -> list[float] | None:
    # RT Dose, PS3.3 section C.8.8.3.2 case a: offsets along the normal, the first of them zero. Case b
    # (absolute z) is left alone: it holds for axial planes only and is not written any more.
    offsets = numbers(dataset, "GridFrameOffsetVector", count)
    origin = numbers(dataset, "ImagePositionPatient", 3)
    cosines = numbers(dataset, "ImageOrientationPatient", 6)
    if offsets is None or origin is None or cosines is None or offsets[0] != 0:
        return None
    normal = np.cross(cosines[:3], cosines[3:])
    return [float(value) for offset in offsets for value in np.asarray(origin) + offset * normal]
