"""The plans that come with voxlake, on real images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from voxlake.core.errors import ItemError
from voxlake.core.plan import Plan
from voxlake.core.volume import Volume
from voxlake.dicom.read import read_dataset
from voxlake.dicom.scan import scan
from voxlake.dicom.volume import assemble
from voxlake.processing.registry import load_plan
from voxlake.processing.resample import Resample
from voxlake.sources.images import read_image

pytestmark = pytest.mark.realdata


def assembled(folder: Path, count: int | None = None) -> Volume:
    """The volume of a folder, or of its lowest `count` slices."""
    blobs = [path.read_bytes() for path in sorted(folder.rglob("*.dcm"))]
    rows = [{**scan(read_dataset(blob), blob), "sha256": "0"} for blob in blobs]
    places = np.argsort([row["image_position_patient"][2] for row in rows])[:count]
    return assemble([rows[place] for place in places], [blobs[place] for place in places])


def ct(realdata: Path) -> Volume:
    return assembled(realdata / "sts_petctmr" / "dicom" / "STS_002" / "CT" / "image", 40)


@pytest.mark.parametrize(("name", "low", "high"), [("ct-chest", -1000, 400), ("ct-abdomen", -160, 240)])
def test_ct(realdata: Path, name: str, low: float, high: float) -> None:
    volume = ct(realdata)
    done = load_plan(name)(volume)
    assert done.grid.orientation == "SPL"
    assert done.grid.spacing == pytest.approx((1.5, 1.5, 1.5))
    assert (done.unit, done.numpy().min(), done.numpy().max()) == ("normalised", 0, 1)
    # Soft tissue, the commonest of a body, lies where the window puts it, and air was cut away.
    middle = done.numpy()[tuple(slice(n // 3, n - n // 3) for n in done.shape)]
    assert np.median(middle) == pytest.approx((40 - low) / (high - low), abs=0.2)
    assert (done.numpy() > (-500 - low) / (high - low)).any(axis=(1, 2)).all()
    with pytest.raises(ItemError, match="HU"):
        load_plan(name)(Volume(volume.numpy(), volume.grid, "arbitrary", "MR"))


def test_mr_brain(realdata: Path) -> None:
    path = realdata / "brainchop_models" / "t1_crop.nii.gz"
    head = Resample(spacing=(2.0, 2.0, 2.0))(read_image(path.read_bytes(), "nifti"))
    # As if a coil lay in front: brighter by a factor of 2.2 from end to end.
    coil = np.exp(np.linspace(-0.4, 0.4, head.shape[1], dtype=np.float32))[None, :, None]
    shaded = Volume(head.numpy() * coil, head.grid, head.unit, "MR")
    plan = load_plan("mr-brain")
    done = plan(shaded)
    values = done.numpy()
    assert done.grid.orientation == "SPL"
    assert done.grid.spacing == pytest.approx((1, 1, 1))
    assert done.unit == "normalised"
    assert values.min() >= -5
    assert values.max() <= 5
    # The brighter part of the head is what the statistics were taken over.
    inside = values > values.mean()
    assert -0.3 < values[inside].mean() < 0.3
    assert 0.6 < values[inside].std() < 1.2
    # Without the correction the bright tissue follows the coil; with it a third as much (0.66, and 1.96).
    plain = Plan(tuple(step for step in plan.steps if step.name != "n4"))
    place = Plan(plain.steps[:2])(Volume(np.log(coil) + 0 * shaded.numpy(), head.grid, head.unit, "MR"))
    wanted = plain(head).numpy()
    bright = wanted > np.percentile(wanted, 85)
    slopes = [
        float(np.polyfit(place.numpy()[bright], one[bright], 1)[0]) for one in (values, plain(shaded).numpy())
    ]
    assert slopes[1] > 1.5
    assert abs(slopes[0]) < 0.5 * slopes[1]


def test_pet_suv(realdata: Path) -> None:
    volume = assembled(realdata / "pet_raw_suv" / "STS_001" / "FDG_PET" / "image")
    done = load_plan("pet-suv")(volume)
    values = done.numpy()
    assert done.unit == "SUVbw"
    assert done.grid.spacing == pytest.approx((4, 4, 4))
    assert (values.min(), values.max()) == (0, 25)
    # Averaging keeps the total uptake but for what was cut off above 25.
    factor = volume.conversions["SUVbw"]
    total = np.minimum(volume.numpy().astype(np.float64) * factor, 25).sum() * volume.grid.voxel_volume
    assert values.sum(dtype=np.float64) * done.grid.voxel_volume == pytest.approx(total, rel=0.02)


def test_xray(realdata: Path) -> None:
    path = min((realdata / "cxr_dicom_nih").glob("*.dcm"))
    blob = path.read_bytes()
    volume = assemble([{**scan(read_dataset(blob), blob), "sha256": "0"}], [blob])
    done = load_plan("xray")(volume)
    assert done.shape == (1, 512, 512)
    assert (done.unit, done.numpy().min(), done.numpy().max()) == ("normalised", 0, 1)
    # Lungs are darker than the middle of the chest.
    assert done.numpy()[0, 200:300, 240:272].mean() > done.numpy()[0, 200:300, 120:180].mean()


def test_ultrasound(realdata: Path) -> None:
    paths = sorted((realdata / "breast_ultrasound_busi").rglob("*.png"))[:6]
    assert paths
    for path in paths:
        done = load_plan("ultrasound")(read_image(path.read_bytes(), "png"))
        assert done.shape == (1, 256, 256)
        assert (done.numpy().min(), done.numpy().max()) == (0, 1)
        assert 0.1 < done.numpy().mean() < 0.7
