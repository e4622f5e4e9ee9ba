"""A made-up chest: shapes with random places and sizes, in LPS mm with the carina near the origin.

Sizes are those of a small adult. Two phantoms with the same seed differ in nothing but their nodules, so
whatever tells them apart is a nodule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Anatomy", "Ellipsoid", "Torso", "Tube", "random_anatomy"]

Point = tuple[float, float, float]
_CARINA = (0.0, 8.0, 22.0)


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid with axes along x, y and z: centre and half axes in mm, value in HU."""

    centre: Point
    radii: Point
    hu: float

    def depth(self, point: Point) -> float:
        """0 in the centre, 1 on the surface."""
        return float(
            sum(((p - c) / r) ** 2 for p, c, r in zip(point, self.centre, self.radii, strict=True)) ** 0.5
        )


@dataclass(frozen=True)
class Tube:
    """A straight tube: ends in mm, radius at either end in mm, value in HU."""

    start: Point
    end: Point
    radii: tuple[float, float]
    hu: float


@dataclass(frozen=True)
class Torso:
    """What is the same along z: body wall, ribs and spine.

    `half_width` and `half_depth` are those of the outer ellipse in mm, `fat` is the thickness of the layer
    under the skin, `rib_phase` in mm and `rib_slope` (mm along z for each mm to the front) place the ribs.
    """

    half_width: float
    half_depth: float
    fat: float
    spine_radius: float
    spine_y: float
    rib_phase: float
    rib_slope: float


@dataclass(frozen=True)
class Anatomy:
    """One chest. `organs` are painted in order, then airways, vessels and nodules."""

    torso: Torso
    lungs: tuple[Ellipsoid, ...]
    organs: tuple[Ellipsoid, ...]
    airways: tuple[Tube, ...]
    vessels: tuple[Tube, ...]
    nodules: tuple[Ellipsoid, ...]


def random_anatomy(
    seed: tuple[int, ...], *, nodule: bool, radius: tuple[float, float], count: tuple[int, int] = (1, 2)
) -> Anatomy:
    """Make up a chest.

    Parameters
    ----------
    seed : tuple of int
        Same seed, same chest.
    nodule : bool
        Whether there are nodules in the lungs.
    radius : (float, float)
        Smallest and largest mean radius of a nodule in mm.
    count : (int, int)
        Fewest and most nodules.
    """
    random = np.random.default_rng((*seed, 1))
    torso = _torso(random)
    lungs = tuple(_lung(random, side) for side in (-1.0, 1.0))
    organs = _organs(random)
    vessels = tuple(tube for lung in lungs for tube in _vessels(random, lung))
    airways = _airways(lungs)
    # Nodules have random numbers of their own, so that all the rest is the same without them.
    chance = np.random.default_rng((*seed, 2))
    nodules = _nodules(chance, lungs, organs, radius, count) if nodule else ()
    return Anatomy(torso, lungs, organs, airways, vessels, nodules)


def _torso(random: np.random.Generator) -> Torso:
    size = random.uniform(0.92, 1.06)
    return Torso(
        half_width=138 * size,
        half_depth=98 * size * random.uniform(0.95, 1.05),
        fat=random.uniform(5, 13),
        spine_radius=random.uniform(13, 16),
        spine_y=random.uniform(57, 63),
        rib_phase=random.uniform(0, 24),
        rib_slope=random.uniform(0.25, 0.45),
    )


def _lung(random: np.random.Generator, side: float) -> Ellipsoid:
    centre = (side * random.uniform(54, 58), random.uniform(-4, 4), random.uniform(-4, 4))
    radii = (random.uniform(36, 41), random.uniform(53, 60), random.uniform(86, 96))
    return Ellipsoid(centre, radii, random.uniform(-880, -820))


def _organs(random: np.random.Generator) -> tuple[Ellipsoid, ...]:
    heart = Ellipsoid(
        (random.uniform(14, 22), random.uniform(-28, -20), random.uniform(-44, -34)),
        (random.uniform(38, 46), random.uniform(32, 38), random.uniform(40, 48)),
        random.uniform(35, 60),
    )
    right = Ellipsoid((-56.0, 0.0, random.uniform(-112, -100)), (52.0, 62.0, 44.0), random.uniform(45, 65))
    left = Ellipsoid((56.0, 0.0, random.uniform(-120, -108)), (52.0, 62.0, 44.0), random.uniform(30, 55))
    return heart, right, left


def _airways(lungs: tuple[Ellipsoid, ...]) -> tuple[Tube, ...]:
    trachea = Tube((0.0, 4.0, 130.0), _CARINA, (8.0, 8.0), -980.0)
    return trachea, *(Tube(_CARINA, _hilum(lung), (6.5, 4.0), -960.0) for lung in lungs)


def _hilum(lung: Ellipsoid) -> Point:
    x, y, z = lung.centre
    return (x - np.sign(x) * 0.72 * lung.radii[0], y + 4, z + 6)


def _vessels(random: np.random.Generator, lung: Ellipsoid) -> list[Tube]:
    tubes = []
    hilum = _hilum(lung)
    for _ in range(int(random.integers(8, 13))):
        end = _inside(random, lung, 0.55, 0.85)
        thick = random.uniform(2.2, 4.0)
        tubes.append(Tube(hilum, end, (thick, 0.45 * thick), random.uniform(20, 60)))
        for _ in range(2):
            fork = _between(hilum, end, random.uniform(0.35, 0.8))
            tip = _inside(random, lung, 0.6, 0.92)
            far = _between(fork, tip, random.uniform(0.3, 0.7))
            tubes.append(Tube(fork, far, (0.5 * thick, 0.25 * thick), random.uniform(10, 50)))
    return tubes


def _nodules(
    random: np.random.Generator,
    lungs: tuple[Ellipsoid, ...],
    organs: tuple[Ellipsoid, ...],
    radius: tuple[float, float],
    count: tuple[int, int],
) -> tuple[Ellipsoid, ...]:
    nodules: list[Ellipsoid] = []
    wanted = int(random.integers(count[0], count[1] + 1))
    while len(nodules) < wanted:
        lung = lungs[int(random.integers(len(lungs)))]
        centre = _inside(random, lung, 0.0, 0.75)
        mean = random.uniform(*radius)
        radii = (
            mean * random.uniform(0.85, 1.2),
            mean * random.uniform(0.85, 1.2),
            mean * random.uniform(0.85, 1.2),
        )
        hu = random.uniform(-120, 70)
        # One that is drowned in the heart or the liver could not be seen by anyone.
        if all(organ.depth(centre) > 1 + max(radii) / min(organ.radii) for organ in organs):
            nodules.append(Ellipsoid(centre, radii, hu))
    return tuple(nodules)


def _inside(random: np.random.Generator, shape: Ellipsoid, least: float, most: float) -> Point:
    """A point of the ellipsoid between two depths, even in volume, in its middle three quarters along z."""
    while True:
        unit = random.uniform(-1, 1, 3)
        if least <= np.linalg.norm(unit) <= most and abs(unit[2]) <= 0.75:
            x, y, z = (float(c + r * u) for c, r, u in zip(shape.centre, shape.radii, unit, strict=True))
            return x, y, z


def _between(start: Point, end: Point, share: float) -> Point:
    x, y, z = (a + share * (b - a) for a, b in zip(start, end, strict=True))
    return x, y, z
