"""N4: take away the slow change of brightness across an MR volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from voxlake.core.errors import ItemError
from voxlake.core.step import Step
from voxlake.core.volume import Volume
from voxlake.processing.filtering import refuse_colour, without_holes
from voxlake.processing.values import as_float32, single_precision

__all__ = ["N4", "bias_field"]

Float = NDArray[np.float32]
# Each axis keeps at least so many samples: fewer do not carry the splines of the coarsest level.
_FEWEST = 6
# And the tissue so many: from fewer, the field differs from that at full resolution by more than noise does.
_ENOUGH = 10_000
_LARGEST = 3.4e38


def _read_over(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST
    if number or value in ("otsu", "all"):
        return value
    raise ValueError('choose "otsu", "all", or a finite number (voxels above it)')


Rounds = Annotated[tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(min_length=1, max_length=8)]
Tissue = Annotated[float | Literal["otsu", "all"], BeforeValidator(_read_over)]


class N4(Step):
    """Estimate a smooth bias field and divide by it (Tustison et al., IEEE Trans. Medical Imaging 29, 2010).

    The field is estimated on every `shrink`-th voxel along each axis and carried to full resolution by cubic
    splines, in place; with ``shrink = 1`` on all voxels. Only voxels above 0
    that `over` selects count, and all voxels are divided. The estimate is that of SimpleITK on one thread, so
    that results do not depend on the machine's cores. N4 does not determine one factor on the whole volume;
    here it is such that the mean of the voxels that count stays. Grid and unit stay; values are float32
    afterwards. A volume without variation over these voxels passes unchanged. RGB is refused. NaN and
    infinities do not count and stay where they are.

    Parameters
    ----------
    shrink : int
        Take one of so many voxels along each axis; less where an axis would be left with fewer than 6 samples
        or the selected voxels with fewer than 10,000.
    iterations : tuple of int
        At most so many rounds at each level; the grid of splines is twice as fine at each.
    tolerance : float
        Stop a level when the field changes by less.
    over : str or float
        Voxels that the field is estimated on: ``"otsu"`` (those above Otsu's threshold), ``"all"``, or those
        above a number in the unit of the volume.

    Raises
    ------
    ItemError
        ``step_failed``: RGB, no voxel is finite, or none above 0 is selected.
    """

    name: ClassVar[str] = "n4"
    version: ClassVar[int] = 1

    shrink: Annotated[int, Field(ge=1, le=16)] = 4
    iterations: Rounds = (50, 50, 50, 50)
    tolerance: Annotated[float, Field(gt=0, le=1)] = 1e-3
    over: Tissue = "otsu"

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step; the input is not changed."""
        refuse_colour(volume, self.name, "a bias field belongs to one channel")
        data = as_float32(volume, self.name)
        field = bias_field(data, self)
        if field is None:
            return volume.with_data(data.copy(), step=self.tag)
        with single_precision(self.name):
            return volume.with_data(data / field, step=self.tag)


def bias_field(data: Float, step: N4) -> Float | None:
    """The factor on every voxel that N4 finds; None where there is nothing to find it by.

    Parameters
    ----------
    data : array of float32
        (slices, rows, columns).
    step : N4
        Its settings.
    """
    whole, holes = without_holes(data, step.name)
    tissue = _tissue(whole, step.over)
    if holes is not None:
        tissue &= ~holes
    if not tissue.any():
        raise ItemError("step_failed", f"n4: no voxel above 0 is selected by over = {step.over!r}")
    at = _sampled(tissue, step.shrink)
    picked = np.ix_(*at)
    small, inside = whole[picked], tissue[picked]
    # The histogram that N4 sharpens needs more than one value, the splines more voxels than they have knots.
    if inside.sum() < 64 or np.ptp(small[inside]) == 0:
        return None
    field = np.exp(_carried(_estimate(small, inside, step), at, data.shape))
    counted = whole[tissue]
    return field * np.float32(
        (counted / field[tissue]).mean(dtype=np.float64) / counted.mean(dtype=np.float64)
    )


def _tissue(data: Float, over: float | str) -> NDArray[np.bool_]:
    inside = data > 0
    if over == "otsu":
        # Start-up: reading a plan must not load SimpleITK.
        import SimpleITK as sitk  # noqa: N813 (the name that its documentation gives it)

        if data.min() == data.max():
            return inside
        threshold = sitk.OtsuThresholdImageFilter()
        threshold.SetNumberOfHistogramBins(200)
        threshold.SetNumberOfThreads(1)
        threshold.Execute(sitk.GetImageFromArray(data))
        inside &= data > threshold.GetThreshold()
    elif not isinstance(over, str):
        inside &= data > over
    return inside


def _sampled(tissue: NDArray[np.bool_], shrink: int) -> list[NDArray[np.intp]]:
    at = [_samples(size, shrink) for size in tissue.shape]
    if shrink > 1 and np.count_nonzero(tissue[np.ix_(*at)]) < _ENOUGH:
        return _sampled(tissue, shrink - 1)
    return at


def _samples(size: int, shrink: int) -> NDArray[np.intp]:
    factor = min(shrink, max(1, size // _FEWEST))
    count = (size - 1) // factor + 1
    return np.arange(count) * factor + (size - 1 - (count - 1) * factor) // 2


def _estimate(small: Float, inside: NDArray[np.bool_], step: N4) -> NDArray[np.float64]:
    # Start-up: reading a plan must not load SimpleITK.
    import SimpleITK as sitk  # noqa: N813 (the name that its documentation gives it)

    # A single slice is an image of two axes: splines across it would have nothing to lie on.
    flat = len(small) == 1
    image = sitk.GetImageFromArray(small[0] if flat else small)
    mask = sitk.GetImageFromArray((inside[0] if flat else inside).astype(np.uint8))
    correct = sitk.N4BiasFieldCorrectionImageFilter()
    correct.SetMaximumNumberOfIterations(list(step.iterations))
    correct.SetConvergenceThreshold(step.tolerance)
    correct.SetNumberOfThreads(1)
    correct.Execute(image, mask)
    field = sitk.GetArrayFromImage(correct.GetLogBiasFieldAsImage(image)).astype(np.float64)
    return field[np.newaxis] if flat else field


def _carried(field: NDArray[np.float64], at: Sequence[NDArray[np.intp]], shape: Sequence[int]) -> Float:
    # Start-up: reading a plan must not load SciPy.
    from scipy.interpolate import make_interp_spline

    out = field
    for axis, (samples, size) in enumerate(zip(at, shape, strict=True)):
        if len(samples) < size:
            # The spline through unit vectors is the matrix that interpolates.
            degree = min(3, len(samples) - 1)
            spline = make_interp_spline(samples.astype(np.float64), np.eye(len(samples)), k=degree)
            out = np.moveaxis(np.tensordot(spline(np.arange(size)), out, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(out, dtype=np.float32)
