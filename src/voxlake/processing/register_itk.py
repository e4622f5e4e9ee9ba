"""The search for a transform, by SimpleITK; everything comes in and goes out as plain numbers."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxlake.core.errors import ItemError
from voxlake.core.grid import Grid
from voxlake.core.volume import Volume
from voxlake.processing.lattice import nested
from voxlake.processing.maps import matrix_rows
from voxlake.processing.transform_to import TransformTo
from voxlake.processing.values import as_float32

if TYPE_CHECKING:
    from voxlake.processing.register import RegistrationSettings

__all__ = ["search"]

Float = NDArray[np.float64]
Image = Any
Transform = Any

# SimpleITK has no types; as a module that is loaded by name it is not checked, instead of failing the check.
sitk: Any = import_module("SimpleITK")

_MOST_CELLS = 61
# A level is not made coarser than this along the shortest axis.
_FEWEST_VOXELS = 16
# L-BFGS-B needs fewer iterations than gradient descent, and each costs the gradient of all control points.
_FEWER = 4
# First steps of the gradient descent, voxels of the fixed grid.
_LONG, _SHORT = 2.0, 0.25


def search(moving: Volume, fixed: Volume, settings: RegistrationSettings) -> TransformTo:
    """The transform of the highest similarity that was found.

    Raises
    ------
    ItemError
        ``registration_failed``: the optimiser gave up, for example because the images do not overlap.
    """
    images = _image(fixed), _image(moving)
    try:
        rigid = _linear(images, _start(images, settings), settings)
        if settings.kind == "rigid":
            return _step(rigid, fixed.grid)
        wide = sitk.AffineTransform(3)
        wide.SetCenter(rigid.GetCenter())
        wide.SetMatrix(rigid.GetMatrix())
        wide.SetTranslation(rigid.GetTranslation())
        affine = _linear(images, wide, settings)
        if settings.kind == "affine":
            return _step(affine, fixed.grid)
        return _step(affine, fixed.grid, _spline(images, affine, fixed.grid, settings))
    except RuntimeError as error:
        # ITK's messages are of many lines, the last says what went wrong; they name no data.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ItemError("registration_failed", f"the optimiser gave up: {lines[-1][:200]}") from None


def _image(volume: Volume) -> Image:
    image = sitk.GetImageFromArray(as_float32(volume, "register"))
    affine = volume.grid.affine[:3, [2, 1, 0, 3]]
    spacing = np.linalg.norm(affine[:, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:, 3].tolist())
    return image


def _method(image: Image, settings: RegistrationSettings, levels: tuple[int, ...]) -> Any:
    method = sitk.ImageRegistrationMethod()
    # Sums of several threads depend on who finishes first.
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    if settings.metric == "correlation":
        method.SetMetricAsCorrelation()
    else:
        method.SetMetricAsMattesMutualInformation(50)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetMetricSamplingStrategy(sitk.ImageRegistrationMethod.RANDOM)
    voxels = image.GetNumberOfPixels()
    shares = [min(1.0, settings.samples / max(1, voxels // level**3)) for level in levels]
    method.SetMetricSamplingPercentagePerLevel(shares, settings.seed)
    method.SetShrinkFactorsPerLevel(list(levels))
    finest = min(image.GetSpacing())
    method.SetSmoothingSigmasPerLevel([0.5 * finest * level if level > 1 else 0.0 for level in levels])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    return method


def _levels(image: Image, settings: RegistrationSettings) -> tuple[int, ...]:
    coarsest = max(1, min(image.GetSize()) // _FEWEST_VOXELS)
    return tuple(dict.fromkeys(min(level, coarsest) for level in settings.levels))


def _start(images: tuple[Image, Image], settings: RegistrationSettings) -> Transform:
    fixed, moving = images
    world = sitk.Euler3DTransform()
    size = np.asarray(fixed.GetSize())
    world.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint(((size - 1) / 2).tolist()))
    candidates: dict[str, Callable[[], Transform]] = {
        "world": lambda: world,
        "centre": lambda: _centred(fixed, moving, sitk.CenteredTransformInitializerFilter.GEOMETRY),
        "moments": lambda: _centred(
            _from_zero(fixed), _from_zero(moving), sitk.CenteredTransformInitializerFilter.MOMENTS
        ),
    }
    if settings.start != "best":
        return candidates[settings.start]()
    made = [make() for make in candidates.values()]
    score, best = min(((_score(images, each, settings), each) for each in made), key=lambda pair: pair[0])
    if score == np.inf:
        raise ItemError("registration_failed", "the images overlap from no starting position")
    return best


def _from_zero(image: Image) -> Image:
    # Moments take values as masses, which -1000 HU is not.
    low = float(sitk.GetArrayViewFromImage(image).min())
    return image - low


def _centred(fixed: Image, moving: Image, mode: int) -> Transform:
    return sitk.Euler3DTransform(
        sitk.CenteredTransformInitializer(fixed, moving, sitk.Euler3DTransform(), mode)
    )


def _linear(images: tuple[Image, Image], start: Transform, settings: RegistrationSettings) -> Transform:
    fixed, moving = images
    method = _method(fixed, settings, _levels(fixed, settings))
    finest = min(fixed.GetSpacing())
    # Affine starts near its goal; steps as long as those of a rigid search would throw it off.
    step = _LONG if start.GetName() == "Euler3DTransform" else _SHORT
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=step * finest,
        minStep=0.002 * finest,
        numberOfIterations=settings.iterations,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-9,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(start, inPlace=False)
    found = type(start)(_innermost(method.Execute(fixed, moving)))
    scored = [(_score(images, each, settings), each) for each in (found, start)]
    # A descent that lost its way is worse than no descent.
    return min(scored, key=lambda pair: pair[0])[1]


def _score(images: tuple[Image, Image], transform: Transform, settings: RegistrationSettings) -> float:
    method = _method(images[0], settings, (1,))
    method.SetInitialTransform(transform, inPlace=False)
    try:
        return float(method.MetricEvaluate(*images))
    except RuntimeError:
        # No overlap.
        return np.inf


def _spline(
    images: tuple[Image, Image], affine: Transform, grid: Grid, settings: RegistrationSettings
) -> Float:
    fixed, moving = images
    extent = np.asarray(fixed.GetSize()) * np.asarray(fixed.GetSpacing())
    cells = np.clip(np.round(extent / settings.control_spacing), 1, _MOST_CELLS).astype(int)
    spline = sitk.BSplineTransform(3, 3)
    spline.SetTransformDomainOrigin(grid.index_to_world((-0.5, -0.5, -0.5)).tolist())
    spline.SetTransformDomainDirection(fixed.GetDirection())
    spline.SetTransformDomainPhysicalDimensions(extent.tolist())
    spline.SetTransformDomainMeshSize(cells.tolist())
    method = _method(fixed, settings, _levels(fixed, settings))
    method.SetMovingInitialTransform(affine)
    method.SetInitialTransform(spline, inPlace=False)
    method.SetOptimizerAsLBFGSB(
        gradientConvergenceTolerance=1e-6,
        numberOfIterations=max(1, settings.iterations // _FEWER),
        costFunctionConvergenceFactor=1e6,
    )
    found = sitk.BSplineTransform(_innermost(method.Execute(fixed, moving)))
    # ITK counts columns fastest and keeps x, y and z of all points one behind the other.
    points = (cells + 3)[::-1]
    return np.moveaxis(np.reshape(found.GetParameters(), (3, *points)), 0, -1)


def _innermost(transform: Transform) -> Transform:
    while transform.GetName() == "CompositeTransform":
        composite = sitk.CompositeTransform(transform)
        transform = composite.GetNthTransform(composite.GetNumberOfTransforms() - 1)
    return transform


def _step(linear: Transform, grid: Grid, displacements: Float | None = None) -> TransformTo:
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(linear.GetMatrix(), (3, 3))
    matrix[:3, 3] = linear.TransformPoint((0.0, 0.0, 0.0))
    return TransformTo(
        shape=grid.shape,
        affine=matrix_rows(grid.affine),
        matrix=matrix_rows(matrix),
        displacements=() if displacements is None else nested(displacements),
        frame=grid.frame or "none",
    )
