"""The gallery has a picture and an entry of every step, and can be made again."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from voxlake.processing.registry import STEPS
from voxlake.processing.segment.registry import CLEANERS, METHODS

ROOT = Path(__file__).parents[3]
GALLERY = ROOT / "docs" / "gallery"
# What a step may do without a change of the picture.
SAME_PICTURE = {"cast", "minmax", "suv", "zscore"}


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """The script, which imports its neighbour."""
    folder = ROOT / "scripts"
    sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location("make_gallery", folder / "make_gallery.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclass looks itself up there.
    sys.modules["make_gallery"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["make_gallery"]
    sys.path.remove(str(folder))


def test_gallery_is_complete(script: ModuleType) -> None:
    assert script.main(["--check"]) == 0, "run `python scripts/make_gallery.py`"


def test_every_step_and_method_has_a_small_picture_and_an_entry() -> None:
    page = (GALLERY / "index.md").read_text("utf-8")
    shown = {name: name for name in STEPS} | {name: f"mask-{name}" for name in (*METHODS, *CLEANERS)}
    for name, stem in shown.items():
        path = GALLERY / f"{stem}.png"
        assert path.stat().st_size < 60_000
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert image.width > 100
        assert f"## {name}\n" in page
        assert f"({stem}.png)" in page
    assert {path.stem for path in GALLERY.glob("*.png")} == set(shown.values())


def test_a_picture_shows_what_the_step_does(script: ModuleType, tmp_path: Path) -> None:
    """Both sides differ where the step is there to change the picture; it is the picture that is stored."""
    for name in ("gaussian", "clahe", "crop", "cast"):
        path = tmp_path / f"{name}.png"
        script.save(script.picture(name), path)
        made, stored = (
            np.asarray(Image.open(each).convert("L"), float) for each in (path, GALLERY / path.name)
        )
        # Another version of a library may round otherwise.
        assert made.shape == stored.shape
        assert np.abs(made - stored).mean() < 1
        half = made.shape[1] // 2 - 3
        assert (np.abs(made[:, :half] - made[:, -half:]).mean() > 2) == (name not in SAME_PICTURE)


@pytest.mark.parametrize("name", ["otsu", "region_grow", "fill_holes"])
def test_a_picture_shows_the_mask(script: ModuleType, tmp_path: Path, name: str) -> None:
    """Colour is where the mask is: on the right only for a method, on both sides for an edit."""
    path = tmp_path / "mask.png"
    script.save(script.mask_picture(name), path)
    made, stored = (
        np.asarray(Image.open(each).convert("RGB"), float) for each in (path, GALLERY / f"mask-{name}.png")
    )
    assert made.shape == stored.shape
    assert np.abs(made - stored).mean() < 1
    half = made.shape[1] // 2 - 3
    coloured = [np.ptp(side, axis=2) > 20 for side in (made[:, :half], made[:, -half:])]
    assert coloured[1].mean() > 0.01
    assert coloured[0].any() == (name in CLEANERS)
    assert (coloured[0] != coloured[1]).any()


@pytest.mark.parametrize("name", [*METHODS, *CLEANERS])
def test_every_stored_mask_is_seen(name: str) -> None:
    """The stored picture has colour on the right, and does not drown in it."""
    picture = np.asarray(Image.open(GALLERY / f"mask-{name}.png").convert("RGB"), float)
    right = picture[:, picture.shape[1] // 2 + 3 :]
    assert 0.001 < (np.ptp(right, axis=2) > 20).mean() < 0.95
