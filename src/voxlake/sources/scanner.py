"""Made-up scanners: how a chest becomes stored values.

Each differs from the others in what differs between makers and protocols: spacing, slice thickness and
overlap, sharpness, noise, how the patient lies, the order of the slices, and how HU are stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxlake.sources.anatomy import Anatomy
from voxlake.sources.painting import paint

__all__ = ["SCANNERS", "Acquisition", "Scanner", "SeriesKey", "acquire"]


@dataclass(frozen=True)
class Scanner:
    """One scanner with its chest protocol.

    Parameters
    ----------
    letter : str
        Its name: "voxlake phantom A".
    kernel : str
        Name of the reconstruction kernel.
    field : float
        Field of view in the plane, mm.
    cover : float
        Length along z that the slices cover, mm.
    thickness : float
        Slice thickness as a multiple of the slice spacing; above 1 the slices overlap.
    blur, noise_grain : float
        Standard deviation in mm of the point spread, and of the grain of the noise, in the plane.
    noise : float
        Standard deviation of the noise in HU.
    position : str
        PatientPosition: HFS, HFP or FFS.
    flipped : bool
        Rows run to the patient's right and columns to the front (a patient who lies prone).
    upwards : bool
        Whether InstanceNumber grows towards the head.
    slope, intercept : float
        Stored value to HU.
    bits, signed : int, bool
        How values are stored.
    packed : bool
        Whether pixels are stored as RLE.
    kvp : float
        Tube voltage in kV, as written in the header.
    """

    letter: str
    kernel: str
    field: float
    cover: float
    thickness: float
    blur: float
    noise: float
    noise_grain: float
    position: str
    flipped: bool
    upwards: bool
    slope: float
    intercept: float
    bits: int
    signed: bool
    packed: bool
    kvp: float


SCANNERS = (
    Scanner(
        letter="A", kernel="SOFT", field=288, cover=168, thickness=1.0, blur=2.0, noise=14, noise_grain=2.5,
        position="HFS", flipped=False, upwards=False, slope=1, intercept=-1024, bits=12, signed=False,
        packed=False, kvp=120,
    ),
    Scanner(
        letter="B", kernel="SHARP", field=304, cover=176, thickness=1.0, blur=0.5, noise=26, noise_grain=1.0,
        position="HFS", flipped=False, upwards=True, slope=1, intercept=0, bits=16, signed=True,
        packed=False, kvp=120,
    ),
    Scanner(
        letter="C", kernel="MEDIUM", field=296, cover=160, thickness=1.3, blur=1.2, noise=18, noise_grain=2.0,
        position="HFP", flipped=True, upwards=False, slope=1, intercept=-8192, bits=16, signed=False,
        packed=True, kvp=100,
    ),
    Scanner(
        letter="D", kernel="BODY", field=280, cover=172, thickness=1.0, blur=1.5, noise=20, noise_grain=1.8,
        position="FFS", flipped=False, upwards=True, slope=0.5, intercept=-1024, bits=13, signed=False,
        packed=False, kvp=110,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """All that one series is made from.

    `shape` is (slices, rows, columns), `radius` the range of the mean radius of a nodule in mm,
    `noise` a factor on the noise of the scanner, `count` the fewest and most nodules.
    """

    seed: int
    patient: int
    study: int
    nodule: bool
    shape: tuple[int, int, int]
    radius: tuple[float, float]
    noise: float
    count: tuple[int, int] = (1, 2)


@dataclass(frozen=True)
class Acquisition:
    """A scan in the order of InstanceNumber.

    `stored` is (slices, rows, columns) of int16 or uint16, `positions` (slices, 3) LPS mm of the first pixel
    of every slice, `orientation` the six cosines, `spacing` (slice, row, column) in mm.
    """

    stored: NDArray[np.int16] | NDArray[np.uint16]
    positions: NDArray[np.float64]
    orientation: tuple[int, int, int, int, int, int]
    spacing: tuple[float, float, float]


def acquire(
    anatomy: Anatomy, scanner: Scanner, shape: tuple[int, int, int], random: np.random.Generator, noise: float
) -> Acquisition:
    """Scan a chest.

    Parameters
    ----------
    anatomy : Anatomy
        Who is scanned.
    scanner : Scanner
        With what.
    shape : (int, int, int)
        Slices, rows, columns. The field of view stays the same; more voxels are smaller ones.
    random : numpy Generator
        Positioning and noise.
    noise : float
        Factor on the noise of the scanner.
    """
    slices, rows, columns = shape
    pixel = round(scanner.field / max(rows, columns), 6)
    depth = round(scanner.cover / slices, 6)
    # No one lies exactly in the middle. Steps of 0.1 mm can be written down exactly in a decimal string.
    centre = np.round(random.uniform((-6, -6, -5), (6, 6, 5)), 1)
    turn = -1 if scanner.flipped else 1
    x = centre[0] + turn * pixel * (np.arange(columns) - (columns - 1) / 2)
    y = centre[1] + turn * pixel * (np.arange(rows) - (rows - 1) / 2)
    z = centre[2] + (1 if scanner.upwards else -1) * depth * (np.arange(slices) - (slices - 1) / 2)
    values = _blurred(paint(anatomy, x, y, z), scanner, pixel)
    values += noise * scanner.noise * _grain(random, shape, scanner.noise_grain / pixel)
    positions = np.stack([np.full(slices, x[0]), np.full(slices, y[0]), z], axis=1)
    return Acquisition(_stored(values, scanner), positions, (turn, 0, 0, 0, turn, 0), (depth, pixel, pixel))


def _blurred(values: NDArray[np.float64], scanner: Scanner, pixel: float) -> NDArray[np.float64]:
    # SciPy takes longer to import than a source takes to open.
    from scipy.ndimage import gaussian_filter

    # What makes a slice thicker than its spacing is a box, whose deviation is its width / sqrt(12).
    through = np.sqrt(max(0.0, scanner.thickness**2 - 1) / 12)
    plane = scanner.blur / pixel
    return np.asarray(gaussian_filter(values, (through, plane, plane), mode="nearest"))


def _grain(random: np.random.Generator, shape: tuple[int, int, int], width: float) -> NDArray[np.float64]:
    """Noise of standard deviation 1, correlated in the plane over `width` pixels."""
    # As above.
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(random.standard_normal(shape), (0, width, width), mode="wrap")
    return np.asarray(noise / noise.std())


def _stored(values: NDArray[np.float64], scanner: Scanner) -> NDArray[np.int16] | NDArray[np.uint16]:
    low, high = (-(1 << 15), (1 << 15) - 1) if scanner.signed else (0, (1 << scanner.bits) - 1)
    numbers = np.clip(np.rint((values - scanner.intercept) / scanner.slope), low, high)
    return numbers.astype(np.int16) if scanner.signed else numbers.astype(np.uint16)
