"""Features against the reference values of the IBSI standard, and against other libraries.

The digital phantom and its values: Zwanenburg et al., Radiology 2020, 295:328-338, and arXiv:1612.07003,
section 5.1.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import pdist
from skimage.measure import marching_cubes, mesh_surface_area, regionprops

from voxlake.core.grid import Grid
from voxlake.features.family import Family
from voxlake.features.histogram import Histogram
from voxlake.features.intensity import Intensity
from voxlake.features.mesh import mesh_area_and_volume
from voxlake.features.region import Region, label_region, whole_region
from voxlake.features.shape import Shape

# The table of reference values names the two percentiles of the histogram by the codes of its minimum and of
# its 10th percentile.
CODE_IN_TABLE = {"percentile_10": "1PR8", "percentile_90": "GPMT"}


def measured(family: Family, region: Region) -> dict[str, float]:
    return {one.name: one.value for one in family(region)}


def ball(radius: float, size: int) -> np.ndarray:
    places = np.indices((size,) * 3) - (size - 1) / 2
    return np.asarray((places**2).sum(axis=0) <= radius**2)


@pytest.mark.realdata
@pytest.mark.parametrize("family", [Intensity(), Histogram(width=1.0), Shape()], ids=lambda one: one.name)
def test_digital_phantom(realdata: Path, family: Family) -> None:
    folder = realdata / "ibsi_phantoms" / "ibsi_1_digital_phantom" / "nifti"
    image = nibabel.load(folder / "image" / "phantom.nii.gz")
    mask = nibabel.load(folder / "mask" / "mask.nii.gz")
    values, labels = (np.asarray(one.dataobj).transpose(2, 1, 0) for one in (image, mask))
    grid = Grid.from_spacing(values.shape, [float(size) for size in image.header.get_zooms()[::-1]])
    found = family(label_region(values, labels, 1, grid))
    listed: dict[tuple[str, str], tuple[float, float]] = {}
    with (realdata / "reference" / "ibsi1_reference_values.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["data"] == "dig. phantom":
                # Where no tolerance is given, all digits that are given must be right.
                digits = len(row["value"].rstrip("0").rstrip(".").partition(".")[2])
                tolerance = float(row["tolerance"] or 0.5 * 10.0**-digits)
                listed[row["family"].partition(" ")[0], row["ibsi_code"]] = float(row["value"]), tolerance
    of_family = {"intensity": "Intensity-based", "histogram": "Intensity", "shape": "Morphological"}[
        family.name
    ]
    for one in found:
        code = CODE_IN_TABLE.get(one.name, one.code) if family.name == "histogram" else one.code
        value, tolerance = listed[of_family, str(code)]
        assert one.value == pytest.approx(value, abs=tolerance * (1 + 1e-9)), one
    assert len(found) == {"intensity": 18, "histogram": 23, "shape": 21}[family.name]


def test_intensity_against_scipy() -> None:
    values = np.random.default_rng(5).gamma(2.0, 30.0, (7, 9, 11)) - 20
    found = measured(Intensity(), whole_region(values, Grid.from_spacing(values.shape, (1, 1, 1))))
    flat = values.ravel()
    expected = {
        "mean": flat.mean(),
        "variance": flat.var(),
        "skewness": stats.skew(flat),
        "kurtosis": stats.kurtosis(flat),
        "median": np.median(flat),
        "interquartile_range": stats.iqr(flat),
        "coefficient_of_variation": stats.variation(flat),
        "mean_absolute_deviation": np.abs(flat - flat.mean()).mean(),
        "median_absolute_deviation": np.abs(flat - np.median(flat)).mean(),
        "energy": (flat**2).sum(),
        "root_mean_square": math.sqrt((flat**2).mean()),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-10), name


def test_two_values_have_no_robust_deviation() -> None:
    values = np.array([0.0, 1.0]).reshape(1, 1, 2)
    found = measured(Intensity(), whole_region(values, Grid.from_spacing(values.shape, (1, 1, 1))))
    assert math.isnan(found["robust_mean_absolute_deviation"])
    assert (found["mean"], found["mean_absolute_deviation"]) == (0.5, 0.5)


def test_histogram_against_scipy() -> None:
    values = np.random.default_rng(6).normal(0, 40, (6, 8, 10))
    found = measured(Histogram(bins=16), whole_region(values, Grid.from_spacing(values.shape, (1, 1, 1))))
    counts, _ = np.histogram(values, bins=16)
    assert found["entropy"] == pytest.approx(stats.entropy(counts, base=2), rel=1e-12)
    assert found["uniformity"] == pytest.approx(((counts / values.size) ** 2).sum(), rel=1e-12)
    assert found["mode"] == counts.argmax() + 1
    assert found["mean"] == pytest.approx((counts * np.arange(1, 17)).sum() / values.size, rel=1e-12)
    assert found["maximum_gradient"] == np.gradient(counts.astype(float)).max()


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.7, 1.1)])
def test_mesh_against_scikit_image(spacing: tuple[float, float, float]) -> None:
    # Smooth regions have none of the cases in which there are several meshes to choose from.
    solid = ball(9.3, 24)
    vertices, faces, _, _ = marching_cubes(
        np.pad(solid, 1).astype(np.float32), 0.5, method="lorensen", spacing=spacing
    )
    corners = vertices[faces].astype(np.float64)
    volume = abs(np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6)
    area, own = mesh_area_and_volume(solid, np.diag(spacing))
    assert area == pytest.approx(float(mesh_surface_area(vertices, faces)), rel=1e-6)
    assert own == pytest.approx(float(volume), rel=1e-6)
    found = measured(
        Shape(), label_region(np.ones(solid.shape), solid, 1, Grid.from_spacing(solid.shape, spacing))
    )
    assert found["maximum_diameter"] == pytest.approx(
        float(pdist(np.unique(vertices, axis=0)).max()), rel=1e-6
    )


def test_ball_and_box_by_formula() -> None:
    radius, size = 20.0, 44
    solid = ball(radius, size)
    found = measured(
        Shape(), label_region(np.ones(solid.shape), solid, 1, Grid.from_spacing(solid.shape, (1, 1, 1)))
    )
    assert found["voxel_volume"] == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.005)
    # For a ball of any radius r: variance r^2 / 5 along every axis.
    for name in ("major_axis_length", "minor_axis_length", "least_axis_length"):
        assert found[name] == pytest.approx(4 * radius / math.sqrt(5), rel=0.005)
    assert found["maximum_diameter"] == pytest.approx(2 * radius, abs=1.0)
    assert found["elongation"] == pytest.approx(1, abs=1e-9)
    assert found["convex_hull_volume_density"] == pytest.approx(1, abs=0.05)
    assert found["sphericity"] < 1
    box = np.ones((4, 6, 10), dtype=bool)
    values = np.ones(box.shape)
    found = measured(Shape(), label_region(values, box, 1, Grid.from_spacing(box.shape, (2.0, 1.0, 0.5))))
    assert found["voxel_volume"] == pytest.approx(240.0)
    variances = [(size**2 - 1) / 12 * step**2 * 240 / 239 for size, step in ((4, 2.0), (6, 1.0), (10, 0.5))]
    lengths = sorted((4 * math.sqrt(one) for one in variances), reverse=True)
    assert [found[f"{name}_axis_length"] for name in ("major", "minor", "least")] == pytest.approx(lengths)
    assert found["convex_hull_volume_density"] == pytest.approx(1)
    assert found["centre_of_mass_shift"] == pytest.approx(0, abs=1e-12)


def test_flat_shape_against_scikit_image() -> None:
    rows, columns = np.indices((60, 80))
    plane = ((rows - 30) / 18) ** 2 + ((columns - 41) / 31) ** 2 <= 1
    image = np.ones((1, *plane.shape))
    found = measured(
        Shape(), label_region(image, plane[None].astype(np.uint8), 1, Grid.flat_image(plane.shape))
    )
    (other,) = regionprops(plane.astype(np.uint8))
    assert found["area"] == other.area
    assert found["bounding_box_area_density"] == pytest.approx(other.extent)
    assert found["major_axis_length"] == pytest.approx(other.axis_major_length, rel=0.002)
    assert found["minor_axis_length"] == pytest.approx(other.axis_minor_length, rel=0.002)
    # The hull of the middles of pixel edges, which is its as well.
    assert found["maximum_diameter"] == pytest.approx(other.feret_diameter_max, abs=1.0)
    # A digital outline is longer than the ellipse, by up to 8 percent.
    around = math.pi * (3 * (18 + 31) - math.sqrt((3 * 18 + 31) * (18 + 3 * 31)))
    assert 1.0 < found["perimeter"] / around < 1.09
