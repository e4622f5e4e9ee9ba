"""Mask plans and the ready-made organs, on made-up bodies and on real images."""

from __future__ import annotations

import numpy as np
import pytest

from voxlake.core.errors import ItemError, NotFoundError, SettingsError
from voxlake.core.grid import Grid
from voxlake.core.mask_grid import carry_back
from voxlake.core.mask_plan import MaskPlan
from voxlake.core.volume import Lineage, Mask, Volume
from voxlake.processing.segment.airways_ct import AirwaysCT
from voxlake.processing.segment.body_ct import BodyCT
from voxlake.processing.segment.bone_ct import BoneCT
from voxlake.processing.segment.brain_mr import BrainMR
from voxlake.processing.segment.lungs_ct import LungsCT
from voxlake.processing.segment.registry import CLEANERS, METHODS, load_mask_plan, mask_plan_names
from voxlake.processing.segment.threshold import Threshold
from voxlake.sources.anatomy import random_anatomy
from voxlake.sources.images import read_image
from voxlake.sources.painting import paint

STEP = 3.0


def dice(one, other):
    return float(2 * ((one > 0) & (other > 0)).sum() / ((one > 0).sum() + (other > 0).sum()))


@pytest.fixture(scope="module")
def chest():
    """A made-up chest in HU, and where its lungs (without what lies in them) are."""
    anatomy = random_anatomy((4, 1), nodule=False, radius=(5, 6))
    x, y = np.arange(-180, 181, STEP), np.arange(-140, 141, STEP)
    z = np.arange(-120, 126, STEP)
    values = paint(anatomy, x, y, z) + np.random.default_rng(0).normal(0, 10, (z.size, y.size, x.size))
    grid = Grid.from_spacing(values.shape, (STEP, STEP, STEP))
    truth = np.zeros(values.shape, np.uint8)
    for lung in anatomy.lungs:
        (cx, cy, cz), (rx, ry, rz) = lung.centre, lung.radii
        depth = (
            ((x - cx) / rx)[None, None, :] ** 2
            + ((y - cy) / ry)[None, :, None] ** 2
            + ((z - cz) / rz)[:, None, None] ** 2
        )
        # The heart is painted into the left lung.
        truth[(depth <= 1) & (values < -320)] = 1 if cx < 0 else 2
    return Volume(values.astype(np.float32), grid, "HU", "CT", Lineage(("a" * 64,))), truth


def test_lungs_of_a_made_up_chest(chest):
    volume, truth = chest
    found = LungsCT()(volume)
    assert [label.name for label in found.labels] == ["Right lung", "Left lung"]
    for side in (1, 2):
        assert dice(found.numpy() == side, truth == side) > 0.93


def test_turned_axes_give_the_same_lungs(chest):
    volume, _ = chest
    order = (2, 0, 1)
    turned = Volume(
        np.ascontiguousarray(np.flip(np.transpose(volume.numpy(), order), 1)),
        volume.grid.transpose(order).flip(1),
        "HU",
    )
    back = np.flip(np.transpose(LungsCT()(volume).numpy(), order), 1)
    np.testing.assert_array_equal(LungsCT()(turned).numpy(), back)


def test_airways_of_a_made_up_chest(chest):
    volume, truth = chest
    found = AirwaysCT()(volume).numpy() > 0
    low = volume.numpy() < -880
    assert dice(found, low & found) > 0.7
    assert 5_000 < found.sum() * STEP**3 < 120_000
    # Hardly any of it may have leaked into the lungs.
    assert (found & (truth > 0)).sum() < 0.3 * found.sum()


def test_body_and_bone_of_a_made_up_chest(chest):
    volume, truth = chest
    body = BodyCT()(volume).numpy()
    assert (body[truth > 0] == 1).all()
    assert body[:, 0].sum() == 0
    bone = BoneCT()(volume).numpy()
    assert (bone[volume.numpy() > 280] > 0).mean() > 0.95
    assert 0.01 < bone.mean() < 0.2


@pytest.mark.parametrize("method", [BodyCT(), BoneCT(), LungsCT(), AirwaysCT()], ids=lambda one: one.name)
def test_other_units_are_refused(method):
    volume = Volume(np.zeros((3, 4, 5), np.float32), Grid.from_spacing((3, 4, 5), (1, 1, 1)))
    with pytest.raises(ItemError, match="needs a volume in HU"):
        method(volume)


def test_a_plan_carries_its_mask_back():
    values = np.zeros((6, 20, 20), np.float32)
    values[2:4, 5:15, 5:15] = 100
    grid = Grid.from_spacing(values.shape, (2.0, 1.0, 1.0), frame="2.25.9")
    volume = Volume(values, grid, lineage=Lineage(("b" * 64,), ("assembled",)))
    plan = load_mask_plan(
        '[[steps]]\nstep = "resample"\nspacing = ["keep", 0.5, 0.5]\norder = "nearest"\n'
        '[segment]\nmethod = "threshold"\nlow = 50\n[[clean]]\nedit = "keep_largest"\n'
        '[[labels]]\nvalue = 1\nname = "Block"\n'
    )
    mask = plan(volume)
    assert mask.grid == grid
    np.testing.assert_array_equal(mask.numpy(), values > 50)
    assert [label.name for label in mask.labels] == ["Block"]
    assert mask.lineage.inputs == ("b" * 64,)
    assert mask.lineage.steps[-2:] == ("keep_largest@1", "carried back: nearest voxel")


def test_carrying_back_over_oblique_axes_asks_the_nearest_voxel():
    grid = Grid.from_spacing((5, 6, 7), (1, 1, 1))
    angle = np.deg2rad(30)
    affine = grid.affine
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    oblique = Grid.from_affine((5, 6, 7), turn @ affine)
    values = np.random.default_rng(1).integers(0, 4, (5, 6, 7)).astype(np.uint8)
    found = carry_back(Mask(values, grid), oblique).numpy()
    for index in np.ndindex(5, 6, 7):
        place = grid.world_to_index(oblique.index_to_world(index))
        nearest = np.floor(place + 0.5).astype(int)
        beyond = np.maximum(-0.5 - place, place - np.array(values.shape) + 0.5)
        # Up to a quarter of a voxel beyond the faces the outermost voxel stands in.
        if (np.abs(place - np.rint(place)) < 0.4).all() and not (0 < beyond.max() < 0.3):
            inside = (nearest >= 0).all() and (nearest < values.shape).all()
            assert found[index] == (values[tuple(nearest)] if inside else 0)


@pytest.mark.parametrize("name", mask_plan_names())
def test_ready_made_plans_round_trip(name):
    plan = load_mask_plan(name)
    again = load_mask_plan(plan.to_toml())
    assert again == plan
    assert again.digest() == plan.digest()


def test_digest_follows_every_part():
    base = '[segment]\nmethod = "threshold"\nlow = 1\n'
    others = [
        base.replace("1", "2"),
        "version = 2\n" + base,
        base + '[[clean]]\nedit = "fill_holes"\n',
        base + '[[labels]]\nvalue = 1\nname = "x"\n',
        '[[steps]]\nstep = "reorient"\n' + base,
    ]
    digests = {load_mask_plan(text).digest() for text in [base, *others]}
    assert len(digests) == 6


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('[segment]\nmethod = "otzu"\n', "did you mean 'otsu'"),
        ('[segment]\nmethod = "otsu"\nclases = 3\n', "did you mean 'classes'"),
        ("[segment]\nlow = 3\n", "missing key 'method'"),
        ('[clean]\nedit = "open"\n', "'segment' must be a table"),
        ('[segment]\nmethod = "otsu"\n[[clean]]\nedit = "opne"\n', "did you mean 'open'"),
        ('version = 0\n[segment]\nmethod = "otsu"\n', "at least 1"),
        ('[segmnt]\nmethod = "otsu"\n', "did you mean 'segment'"),
    ],
)
def test_bad_plans_name_the_near_miss(text, match):
    with pytest.raises(SettingsError, match=match):
        load_mask_plan(text)


def test_unknown_names_are_hinted_at():
    with pytest.raises(NotFoundError, match="did you mean 'bone-ct'"):
        load_mask_plan("bone_ct")


def test_registries_are_sorted_and_documented():
    for registry in (METHODS, CLEANERS):
        assert list(registry) == sorted(registry)
        for one in registry.values():
            text = one.__doc__ or ""
            assert not [key for key in one.model_fields if key not in text], one.name


def test_plans_hold_only_one_method():
    plan = MaskPlan(Threshold(low=3))
    assert plan.to_tables() == {
        "version": 1,
        "steps": [],
        "segment": {"method": "threshold", "low": 3.0, "high": None, "unit": None},
    }


@pytest.mark.realdata
def test_organs_of_real_ct(realdata):
    """Against the organ labels of TotalSegmentator at 3 mm: abdomen with the bases of the lungs."""
    folder = realdata / "totalseg_ct"
    image = read_image((folder / "example_ct_sm.nii.gz").read_bytes(), "nifti")
    volume = Volume(image.numpy(), image.grid, "HU", "CT")
    organs = read_image((folder / "example_seg.nii.gz").read_bytes(), "nifti").numpy()
    lungs = LungsCT()(volume).numpy()
    assert dice(lungs, np.isin(organs, range(10, 15))) > 0.94
    assert dice(lungs == 2, np.isin(organs, (10, 11))) > 0.93
    bones = np.isin(organs, [*range(26, 51), *range(69, 79), *range(92, 117)])
    assert dice(BoneCT()(volume).numpy(), bones) > 0.86
    body = BodyCT()(volume).numpy()
    assert (body[organs > 0] == 1).mean() > 0.999
    assert 0.6 < body.mean() < 0.7
    with pytest.raises(ItemError, match="no trachea"):
        AirwaysCT()(volume)


@pytest.mark.realdata
def test_brain_of_real_mr(realdata):
    """A brain whose skull was taken off by others must come back nearly whole."""
    folder = realdata / "ms_lesions/cross_sectional/MNI/patient19"
    (path,) = folder.glob("FLAIR*.nii.gz")
    volume = read_image(path.read_bytes(), "nifti")
    assert dice(BrainMR()(volume).numpy(), volume.numpy() != 0) > 0.94
