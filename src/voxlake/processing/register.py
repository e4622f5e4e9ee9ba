"""Find the transform that brings one image onto another, and say how good it is.

Rigid, affine and B-spline registration by SimpleITK: mutual information of Mattes et al., IEEE TMI 22(1),
2003, or correlation, over several resolutions. A result that does not look like anatomy is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from voxlake.core.errors import FlatGridError, ItemError
from voxlake.core.settings import Settings
from voxlake.core.volume import Volume
from voxlake.processing.maps import square
from voxlake.processing.transform_to import TransformTo
from voxlake.processing.values import as_float32

__all__ = ["Plausible", "Quality", "Registration", "RegistrationSettings", "quality_of", "register"]

Float = NDArray[np.float64]
Pair = tuple[float, float]

_BINS = 32
_PLACES = 48
_POINTS_PER_AXIS = 4


class Plausible(Settings):
    """Limits of what is taken for a registration of two images of the same anatomy.

    Parameters
    ----------
    overlap : float
        Least share of the fixed grid that has values of the moving volume.
    similarity : float
        Least similarity afterwards; see `Quality`.
    kept : float
        Least similarity afterwards as a share of that before: sampling may cost an already aligned pair a
        little.
    rotation : float
        Largest angle, degrees.
    scale : float
        Largest factor by which the affine part stretches or shrinks any direction.
    jacobian : range
        Determinants of the derivative, smallest and largest.
    """

    overlap: Annotated[float, Field(ge=0, le=1)] = 0.25
    similarity: Annotated[float, Field(ge=0)] = 0.1
    kept: Annotated[float, Field(ge=0, le=1)] = 0.97
    rotation: Annotated[float, Field(gt=0, le=180)] = 60.0
    scale: Annotated[float, Field(ge=1)] = 2.0
    jacobian: tuple[float, float] = (0.1, 8.0)


class RegistrationSettings(Settings):
    """How a registration is carried out.

    Parameters
    ----------
    kind : str
        ``"rigid"``; ``"affine"`` (after rigid); ``"bspline"`` (after affine).
    metric : str
        ``"mutual_information"`` (any modalities) or ``"correlation"`` (one modality).
    start : str
        ``"world"`` (positions as they are), ``"centre"`` (centres of the grids on each other), ``"moments"``
        (centres of mass on each other), or ``"best"``: the most similar of the three.
    levels : list of whole numbers
        By how much each resolution is coarser than the fixed grid, coarse to fine.
    samples : int
        Places that the similarity is taken over, drawn at random in each level.
    seed : int
        Of that draw.
    iterations : int
        At most so many in each level; a quarter of it for ``"bspline"``.
    control_spacing : float
        Distance of the control points of ``"bspline"``, mm.
    plausible : table
        What is refused; see `Plausible`.
    """

    kind: Literal["rigid", "affine", "bspline"] = "rigid"
    metric: Literal["mutual_information", "correlation"] = "mutual_information"
    start: Literal["best", "world", "centre", "moments"] = "best"
    levels: Annotated[tuple[Annotated[int, Field(ge=1, le=16)], ...], Field(min_length=1)] = (4, 2, 1)
    samples: Annotated[int, Field(ge=1000)] = 20_000
    seed: Annotated[int, Field(ge=1, lt=2**31)] = 1
    iterations: Annotated[int, Field(ge=1)] = 100
    control_spacing: Annotated[float, Field(gt=0)] = 30.0
    plausible: Plausible = Plausible()


@dataclass(frozen=True)
class Quality:
    """How similar two images are before and after, and how far the transform goes.

    Parameters
    ----------
    similarity : pair of float
        Before (positions as they are) and after: mutual information in nats (histogram of 32 x 32), or the
        absolute correlation coefficient, over the places where both have values; 0 where they share none.
    overlap : pair of float
        Share of the fixed grid with values of the moving volume, before and after.
    rotation : float
        Angle of the affine part, degrees.
    scales : three floats
        Factors of the affine part along its principal directions, smallest first.
    shift : float
        How far the centre of the fixed grid moves, mm.
    jacobian : pair of float
        Smallest and largest determinant of the derivative; below 0 the transform folds.
    """

    similarity: Pair
    overlap: Pair
    rotation: float
    scales: tuple[float, float, float]
    shift: float
    jacobian: Pair


@dataclass(frozen=True)
class Registration:
    """What was found: the step that resamples the moving volume onto the fixed grid, and its quality."""

    transform: TransformTo
    quality: Quality
    settings: RegistrationSettings


def register(moving: Volume, fixed: Volume, settings: RegistrationSettings | None = None) -> Registration:
    """Find the transform that brings `moving` onto `fixed`, another image of the patient or a template.

    The same volumes and settings give the same numbers: places are drawn from a seed and one thread sums.

    Parameters
    ----------
    moving, fixed : Volume
        Scalar, with positions in mm and at least 4 voxels along every axis.
    settings : RegistrationSettings, optional
        How; rigid unless given.

    Returns
    -------
    Registration
        ``transform`` may be written in a plan and applied to any volume in the frame of `moving`.

    Raises
    ------
    FlatGridError
        An image has no position.
    ItemError
        ``step_failed``: an image that cannot be registered (RGB, too thin, NaN, constant).
        ``registration_failed``: no transform was found, or the one found is not plausible.
    """
    # Start-up: reading a plan must not load SimpleITK.
    from voxlake.processing.register_itk import search

    used = settings or RegistrationSettings()
    for volume, which in ((moving, "moving"), (fixed, "fixed")):
        _check(volume, which)
    transform = search(moving, fixed, used)
    quality = quality_of(transform, moving, fixed, used.metric)
    faults = _faults(quality, used.plausible)
    if faults:
        raise ItemError("registration_failed", "the registration is not plausible: " + "; ".join(faults))
    return Registration(transform, quality, used)


def quality_of(transform: TransformTo, moving: Volume, fixed: Volume, metric: str) -> Quality:
    """Judge any transform of `moving` onto `fixed`; see `Quality`."""
    matrix = square(transform.matrix)
    left, stretch, right = np.linalg.svd(matrix[:3, :3])
    turned = left @ right
    angle = np.degrees(np.arccos(np.clip((np.trace(turned) - 1) / 2, -1, 1)))
    index = _places(fixed.grid.shape)
    world = fixed.grid.index_to_world(index)
    values = as_float32(fixed, "register")[tuple(index.T)]
    before, overlap_before = _similarity(values, moving, world, metric)
    after, overlap_after = _similarity(values, moving, transform.points(world), metric)
    centre = fixed.grid.index_to_world((np.asarray(fixed.grid.shape) - 1) / 2)
    folds = transform.jacobian()
    low, middle, high = sorted(float(value) for value in stretch)
    return Quality(
        (before, after),
        (overlap_before, overlap_after),
        float(angle),
        (low, middle, high),
        float(np.linalg.norm(transform.points(centre[np.newaxis])[0] - centre)),
        (float(folds.min()), float(folds.max())),
    )


def _check(volume: Volume, which: str) -> None:
    if volume.grid.flat:
        raise FlatGridError(f"registration needs millimetres, but the {which} image is flat")
    if volume.channels != 1 or min(volume.grid.shape) < _POINTS_PER_AXIS:
        raise ItemError(
            "step_failed",
            f"registration needs scalar volumes of at least {_POINTS_PER_AXIS} voxels along every axis; the "
            f"{which} one has the shape {volume.shape}",
        )
    data = as_float32(volume, "register")
    if not np.isfinite(data).all():
        raise ItemError("step_failed", f"registration needs finite values; the {which} volume has others")
    if data.min() == data.max():
        raise ItemError("step_failed", f"registration needs contrast; the {which} volume is constant")


def _faults(found: Quality, limits: Plausible) -> list[str]:
    before, after = found.similarity
    low, high = limits.jacobian
    checks = (
        (found.overlap[1] < limits.overlap, f"overlap {found.overlap[1]:.2f} < {limits.overlap:g}"),
        (after < limits.similarity, f"similarity {after:.3f} < {limits.similarity:g}"),
        (after < limits.kept * before, f"similarity {after:.3f} afterwards, {before:.3f} before"),
        (found.rotation > limits.rotation, f"rotation {found.rotation:.0f} > {limits.rotation:g} degrees"),
        (
            found.scales[2] > limits.scale or found.scales[0] < 1 / limits.scale,
            f"scales {found.scales[0]:.2f} to {found.scales[2]:.2f} beyond a factor {limits.scale:g}",
        ),
        (
            found.jacobian[0] < low or found.jacobian[1] > high,
            f"Jacobian {found.jacobian[0]:.2f} to {found.jacobian[1]:.2f} beyond {low:g} to {high:g}",
        ),
    )
    return [text for failed, text in checks if failed]


def _places(shape: tuple[int, int, int]) -> NDArray[np.intp]:
    axes = [np.unique(np.linspace(0, size - 1, min(size, _PLACES)).astype(np.intp)) for size in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def _similarity(values: NDArray[np.float32], moving: Volume, world: Float, metric: str) -> Pair:
    # Start-up: reading a plan must not load SciPy.
    from scipy.ndimage import map_coordinates

    at = moving.grid.world_to_index(world)
    inside = ((at >= -0.5) & (at < np.asarray(moving.grid.shape) - 0.5)).all(axis=1)
    share = float(inside.mean())
    one = values[inside].astype(np.float64)
    data = as_float32(moving, "register")
    other = map_coordinates(data, at[inside].T, order=1, mode="nearest").astype(np.float64)
    if one.size < _BINS**2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0, share
    if metric == "correlation":
        return float(abs(np.corrcoef(one, other)[0, 1])), share
    joint = np.histogram2d(one, other, bins=_BINS)[0] / one.size
    alone = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    return float((joint[filled] * np.log(joint[filled] / alone[filled])).sum()), share
