"""The images of the gallery: phantoms, and public test files that come with pydicom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.data import get_testdata_file

from voxlake.core.grid import Grid
from voxlake.core.volume import Unit, Volume
from voxlake.sources.anatomy import random_anatomy
from voxlake.sources.painting import paint

__all__ = ["IMAGES"]

_SHAPE, _SPACING = (24, 96, 96), (4.0, 2.0, 2.0)
_SUV: Mapping[Unit, float] = MappingProxyType({"SUVbw": 2e-4})


def _places() -> tuple[NDArray[np.float64], ...]:
    return tuple(np.meshgrid(*(np.linspace(-1, 1, n) for n in _SHAPE), indexing="ij"))


def _values() -> NDArray[np.float64]:
    """Nested ellipsoids: scalp, skull, brain with two tissues, ventricles."""
    z, y, x = _places()
    radius = np.sqrt((x / 0.82) ** 2 + (y / 0.95) ** 2 + (z / 1.1) ** 2)
    values = np.where(radius < 1, 150.0, 5.0)
    values[radius < 0.94] = 25
    values[radius < 0.86] = 95
    folds = np.sin(14 * x + 3 * np.sin(6 * y)) + np.sin(13 * y + 2 * z) + 2.2 * radius
    values[(radius < 0.86) & (folds < 1.1)] = 135
    for side in (-1, 1):
        values[((x - 0.17 * side) / 0.1) ** 2 + ((y + 0.05) / 0.34) ** 2 + (z / 0.5) ** 2 < 1] = 40
    return values


def _head(values: NDArray[np.float64], modality: str = "MR") -> Volume:
    return Volume(
        values.astype(np.float32), Grid.from_spacing(_SHAPE, _SPACING), "arbitrary", modality=modality
    )


def head() -> Volume:
    """A head without noise but a little."""
    return _head(_values() + np.random.default_rng(0).normal(0, 2, _SHAPE))


def noisy_head() -> Volume:
    """The same with much noise."""
    return _head(_values() + np.random.default_rng(1).normal(0, 14, _SHAPE))


def speckled_head() -> Volume:
    """The same with single voxels lost."""
    values, lost = _values(), np.random.default_rng(2).random(_SHAPE)
    values[lost < 0.04], values[lost > 0.96] = 0, 200
    return _head(values)


def biased_head() -> Volume:
    """The same under a coil that is nearer on one side."""
    z, y, x = _places()
    return _head(np.abs(head().numpy()) * np.exp(0.5 * x - 0.35 * y + 0.1 * z * z))


def pet() -> Volume:
    """Uptake in Bq/ml, with what SUV needs."""
    z, y, x = _places()
    body = 4000.0 * ((x / 0.8) ** 2 + (y / 0.6) ** 2 < 1)
    spots = sum(
        30000 * np.exp(-(((x - a) / 0.08) ** 2 + ((y - b) / 0.08) ** 2 + (z / 0.3) ** 2))
        for a, b in ((0.3, 0.1), (-0.35, -0.2))
    )
    noise = np.random.default_rng(3).normal(0, 500, _SHAPE)
    data = np.maximum(body + spots + noise, 0).astype(np.float32)
    return Volume(data, Grid.from_spacing(_SHAPE, _SPACING), "Bq/ml", "PT", conversions=dict(_SUV))


def _file(name: str, every: int = 1) -> tuple[pydicom.Dataset, NDArray[np.float32]]:
    path = get_testdata_file(name)
    if path is None:
        raise FileNotFoundError(f"pydicom has no test file {name}")
    found = pydicom.dcmread(str(path))
    return found, np.asarray(found.pixel_array, dtype=np.float32)[::every, ::every]


def ct() -> Volume:
    """One slice of CT in HU."""
    found, pixels = _file("CT_small.dcm")
    values = pixels * float(found.RescaleSlope) + float(found.RescaleIntercept)
    spacing = (5.0, *(float(step) for step in found.PixelSpacing))
    return Volume(values[np.newaxis], Grid.from_spacing((1, *values.shape), spacing), "HU", "CT")


def mr() -> Volume:
    """One slice of MR, every second row and column."""
    found, pixels = _file("examples_overlay.dcm", every=2)
    spacing = (5.0, *(2 * float(step) for step in found.PixelSpacing))
    return Volume(pixels[np.newaxis], Grid.from_spacing((1, *pixels.shape), spacing), "arbitrary", "MR")


def ultrasound() -> Volume:
    """A flat image in colour; only the part that was sounded, without the text around it."""
    _, pixels = _file("examples_rgb_color.dcm")
    pixels = pixels[50:120, 30:270]
    return Volume(pixels[np.newaxis].astype(np.uint8), Grid.flat_image(pixels.shape[:2]), "arbitrary", "US")


def chest() -> Volume:
    """A made-up chest in HU."""
    x, y, z = np.arange(-180, 181, 3.0), np.arange(-140, 141, 3.0), np.arange(-120, 126, 3.0)
    values = paint(random_anatomy((4, 1), nodule=False, radius=(5, 6)), x, y, z)
    values = values + np.random.default_rng(0).normal(0, 10, values.shape)
    grid = Grid.from_spacing(values.shape, (3.0, 3.0, 3.0))
    return Volume(values.astype(np.float32), grid, "HU", "CT")


def radiograph() -> Volume:
    """Two dark lungs beside a bright spine, drawn."""
    y, x = np.mgrid[:128, :128]
    values = np.full((128, 128), 150.0) + np.random.default_rng(5).normal(0, 4, (128, 128))
    values[:, 60:68] += 50
    for column in (36, 92):
        values[((x - column) / 16) ** 2 + ((y - 58) / 34) ** 2 < 1] -= 90
    return Volume(values[np.newaxis].astype(np.float32), Grid.flat_image((128, 128)), modality="DX")


IMAGES: Mapping[str, Callable[[], Volume]] = MappingProxyType(
    {
        "biased head": biased_head,
        "chest": chest,
        "ct": ct,
        "head": head,
        "mr": mr,
        "noisy head": noisy_head,
        "pet": pet,
        "radiograph": radiograph,
        "speckled head": speckled_head,
        "ultrasound": ultrasound,
    }
)
"""Name -> a function that makes the volume."""
