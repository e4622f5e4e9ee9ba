"""Settings of the segmentation of a task: masks, patches, random changes, inference."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from voxlake.core.settings import Settings

__all__ = ["IGNORE", "Beyond", "MaskSettings", "PatchAugmentation", "SegmentationSettings"]

IGNORE = 255
"""Value of a target that counts neither in the loss nor in a figure."""

Axis = Literal["slice", "row", "column"]
Share = Annotated[float, Field(ge=0, le=1)]
Beyond = Literal["unknown", "background"]


class MaskSettings(Settings):
    """Where the masks come from that are learned.

    Parameters
    ----------
    cohort : str, optional
        Cohort of label volumes (NIfTI, NRRD, PNG, DICOM: images whose values are labels). Without it, the
        masks are those of the table `masks`: imported SEG and RTSTRUCT objects, or what `segment` made.
    pair : {"patient", "study"}
        What a label volume shares with its image, and with no other image.
    values : tuple of int, optional
        Value of each class in the label volumes; 1, 2, ... in the order of the classes if absent.
    threshold : float, optional
        Of one class whose label volumes are grey pictures, shrunk or stored with losses: what is above
        belongs to it.
    ignore : tuple of (int or str)
        Values of label volumes, or names of labels, that are not learned and do not count.
    mask_plan : str, optional
        Only masks of this mask plan: the first characters of its digest.
    kind : str, optional
        Only masks of this kind, as the table has it: ``"BINARY"``, ``"RTSTRUCT"``, ``"PLAN"``, ...
    """

    cohort: str | None = None
    pair: Literal["patient", "study"] = "patient"
    values: tuple[PositiveInt, ...] | None = None
    threshold: float | None = None
    ignore: tuple[int | str, ...] = ()
    mask_plan: str | None = None
    kind: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.threshold is not None and (self.cohort is None or self.values is not None or self.ignore):
            raise ValueError("'threshold' is for label volumes of a cohort, without 'values' and 'ignore'")
        return self


class PatchAugmentation(Settings):
    """Random changes of patches, drawn anew for every patch of every epoch; all zero means none.

    Parameters
    ----------
    flip : tuple of {"slice", "row", "column"}
        Axes along which half of the patches are mirrored.
    rotate : float
        Largest angle in degrees, about every axis; on images in their plane.
    scale : float
        Largest change of size, as a share: 0.25 draws factors from 1/1.25 to 1.25, even in the logarithm.
    elastic : float
        Largest displacement of a control point, as a share of the distance of the points; below 0.4 nothing
        folds (Choi and Lee, 2000).
    points : int
        Control points of the elastic deformation along each axis; a cubic B-spline goes through them.
    moved : float
        Share of the patches that are turned, scaled and deformed.
    gamma : float
        Largest change of the exponent, as a share: 0.5 draws from 1/1.5 to 1.5; half of the time of the
        inverted patch.
    contrast : float
        Largest change of contrast, as a share.
    brightness : float
        Largest change of brightness, in standard deviations of the patch.
    noise : float
        Largest standard deviation of Gaussian noise, in standard deviations of the patch.
    blur : float
        Largest standard deviation of a Gaussian filter, in voxels.
    low_resolution : float
        Largest factor by which voxels get coarser; 0 or 1 for none.
    changed : float
        Share of the patches that get each of the changes of values.
    labels : {"nearest", "linear"}
        How masks follow: by nearest neighbour, or every class by linear interpolation and then the class
        with the largest share, which keeps borders smooth and takes longer.
    """

    flip: tuple[Axis, ...] = ()
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Annotated[float, Field(ge=0, le=1)] = 0.0
    elastic: Annotated[float, Field(ge=0, le=0.4)] = 0.0
    points: Annotated[int, Field(ge=4, le=32)] = 6
    moved: Share = 0.3
    gamma: Annotated[float, Field(ge=0, le=2)] = 0.0
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.0
    brightness: Annotated[float, Field(ge=0, le=2)] = 0.0
    noise: Annotated[float, Field(ge=0, le=2)] = 0.0
    blur: Annotated[float, Field(ge=0, le=5)] = 0.0
    low_resolution: Annotated[float, Field(ge=0, le=8)] = 0.0
    changed: Share = 0.2
    labels: Literal["nearest", "linear"] = "nearest"

    def moves(self) -> bool:
        """Whether patches may be turned, scaled or deformed."""
        return self.moved > 0 and bool(self.rotate or self.scale or self.elastic)


class SegmentationSettings(Settings):
    """The table ``[segmentation]`` of a task.

    Parameters
    ----------
    masks : MaskSettings
        Where the masks come from.
    patch : tuple of int, optional
        Voxels of a patch, (slices, rows, columns) or (rows, columns); whole volumes, padded to the largest
        one and to a multiple of `multiple`, if absent.
    per_volume : float
        Patches drawn of each volume in an epoch, on average.
    foreground : float
        Share of the patches that show a voxel of a class, each class as often as the others.
    multiple : int
        Extents that the network sees are multiples of this; 2 to the number of its poolings.
    beyond : {"unknown", "background"}
        What a patch shows where it reaches beyond a volume: its edge, which counts as no class; or
        background as dark as the darkest voxel, as the air around a body in an X-ray.
    augmentation : PatchAugmentation
        Random changes of the patches.
    dice : {"batch", "sample"}
        Whether the Dice loss is taken over all patches of a step together, or of each and then averaged.
    cross_entropy : float
        Weight of the cross-entropy in the loss; that of the Dice loss is 1.
    deep_weights : tuple of float
        Weights of the outputs of a network with deep supervision, finest first, brought to a sum of 1.
    whole : int
        Voxels up to which a volume goes through the network at once; larger ones in tiles as large as a
        patch.
    overlap : float
        Share of a tile that it has in common with the next one.
    mirror : tuple of {"slice", "row", "column"}
        Axes along which volumes are also mirrored when they are segmented; outputs are averaged.
    largest : int, optional
        So many connected pieces of each class are kept, the largest (two of paired organs); all if absent.
    tolerance : float
        Distance in mm that counts as none in the surface Dice.
    folds : int, optional
        So many folds of the split are trained, from the first; all if absent.
    memory : float
        Gibibytes of volumes and masks that are kept in memory; beyond, they are mapped from the local cache.
    """

    masks: MaskSettings = MaskSettings()
    patch: tuple[PositiveInt, ...] | None = Field(default=None, min_length=2, max_length=3)
    per_volume: Annotated[float, Field(gt=0)] = 1.0
    foreground: Share = 1 / 3
    multiple: PositiveInt = 8
    beyond: Beyond = "unknown"
    augmentation: PatchAugmentation = PatchAugmentation()
    dice: Literal["batch", "sample"] = "batch"
    cross_entropy: Annotated[float, Field(ge=0)] = 1.0
    deep_weights: tuple[Annotated[float, Field(ge=0)], ...] = (1.0, 0.5, 0.25, 0.125)
    whole: PositiveInt = 2_000_000
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    mirror: tuple[Axis, ...] = ()
    largest: PositiveInt | None = None
    tolerance: Annotated[float, Field(gt=0)] = 1.0
    folds: PositiveInt | None = None
    memory: Annotated[float, Field(ge=0)] = 2.0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        uneven = [size for size in self.patch or () if size % self.multiple]
        if uneven:
            raise ValueError(f"patch {self.patch}: extents must be multiples of {self.multiple} ('multiple')")
        if not any(self.deep_weights):
            raise ValueError("deep_weights must not all be zero")
        return self
