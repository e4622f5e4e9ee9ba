"""Write ``docs/gallery``: a picture before and one after of every step, method and edit, and a page of them.

python scripts/make_gallery.py            write what has changed
python scripts/make_gallery.py --check    exit with 1 if a step, a picture or a line of the page is missing

The images are phantoms and public test files that come with pydicom; no folder of data is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gallery_images import IMAGES
from gallery_masks import MASK_EXAMPLES, mask_sides, mask_toml, painted
from numpy.typing import NDArray
from PIL import Image

from voxlake.core.plan import Plan
from voxlake.core.step import Step
from voxlake.core.volume import Mask, Volume
from voxlake.processing.histogram_match import fit_histogram_match
from voxlake.processing.nyul import fit_nyul
from voxlake.processing.registry import STEPS
from voxlake.processing.segment.registry import CLEANERS, METHODS

FOLDER = Path(__file__).parents[1] / "docs" / "gallery"
LARGEST = 60_000
_SIDE, _GAP = 150, 6
_INTRODUCTION = (
    "Every [step](../reference/steps.md) on a phantom or a public test image: before on the left, after on "
    "the right. Both sides are drawn in the same grey range unless it says otherwise."
)
_OF_MASKS = (
    "Every method and every edit of [mask plans](../how-to/segment.md): the image, or the mask before an "
    "edit (values from 110 to 145), on the left, the mask in colours on the right."
)
_SLOPE = ((1.0, 0.0, 0.0, 0.0), (0.0, 0.97, 0.26, -8.0), (0.0, -0.26, 0.97, 16.0))
_HEAD_GRID = [[0.0, 0.0, 2.0, 0.0], [0.0, 2.0, 0.0, 0.0], [4.0, 0.0, 0.0, 0.0]]
Settings = Mapping[str, Any] | Callable[[], Step]


@dataclass(frozen=True)
class Example:
    """How a step is shown.

    Parameters
    ----------
    image : str
        Key of `IMAGES`.
    settings : mapping, or a callable that fits the step
        What the step gets.
    axis : int
        The middle along this axis is shown: 0 an axial, 1 a coronal slice.
    same : bool
        Both sides are drawn in the grey range of the left one; else each in its own.
    note : str
        What to look at.
    """

    image: str
    settings: Settings
    note: str
    axis: int = 0
    same: bool = True

    def step(self, name: str) -> Step:
        """The step with its settings."""
        return self.settings() if callable(self.settings) else STEPS[name].read(self.settings)


def _ripples() -> list[Any]:
    rows, columns = np.mgrid[:6, :6]
    plane = np.stack([np.zeros((6, 6)), 8.0 * np.sin(2.1 * columns), 8.0 * np.cos(1.7 * rows)], axis=-1)
    # One layer of control points: every slice is bent alike.
    return [plane.tolist()]


EXAMPLES: dict[str, Example] = {
    "bias_field": Example("head", {"coefficients": [0.5, -0.4, 0.3]}, "One side is brighter than the other."),
    "bilateral": Example("noisy head", {"sigma_value": 30.0}, "Noise goes, edges stay."),
    "cast": Example("ct", {"dtype": "int16"}, "The same values in another type."),
    "clahe": Example("mr", {"clip": 4.0}, "Dark and bright regions both show their detail.", same=False),
    "clip": Example("ct", {"low": -200.0, "high": 300.0}, "Values beyond the limits are cut.", same=False),
    "crop": Example("head", {"shape": [48, 48]}, "The middle is left."),
    "crop_around": Example("head", {"start": [6, 20, 40], "stop": [20, 70, 90]}, "A box is left."),
    "crop_foreground": Example("head", {"threshold": 30.0}, "Background at the border is cut off."),
    "crop_or_pad": Example(
        "head", {"shape": [60, 120], "fill": "minimum"}, "Cut in one axis, padded in the other."
    ),
    "cut_out": Example("head", {"boxes": [[0, 30, 50, 24, 50, 75]], "fill": 0.0}, "A box is blanked."),
    "flip": Example(
        "mr", {"axes": ["column"]}, "Mirrored in memory; the grid follows and nothing moves in space."
    ),
    "gamma": Example("mr", {"gamma": 0.5}, "Dark parts become brighter."),
    "gaussian": Example("noisy head", {"sigma": [0.0, 1.5, 1.5]}, "Noise goes, and so do edges."),
    "ghosting": Example(
        "head", {"axis": "row", "ghosts": 4, "intensity": 0.6}, "Faint copies along one axis."
    ),
    "grayscale": Example("ultrasound", {}, "Colour becomes luminance.", same=False),
    "histogram_match": Example(
        "biased head", lambda: fit_histogram_match([IMAGES["head"]()]), "The histogram of another head."
    ),
    "invert": Example("ct", {}, "Bright becomes dark."),
    "low_resolution": Example(
        "head", {"factors": [1.0, 4.0, 4.0]}, "As if it had been taken with larger voxels."
    ),
    "median": Example("speckled head", {"size": 3}, "Single bright and dark voxels go, edges stay."),
    "minmax": Example("ct", {}, "The same picture: only the range is another.", same=False),
    "mirror": Example("mr", {"axes": ["column"]}, "Mirrored in space: left becomes right."),
    "n4": Example("biased head", {}, "The slow change of brightness is gone."),
    "noise": Example("head", {"deviation": 15.0, "seed": 1}, "Noise is added."),
    "nonlocal_means": Example("noisy head", {}, "Noise goes where patches repeat."),
    "nyul": Example(
        "biased head", lambda: fit_nyul([IMAGES["head"]()]), "Brought to a common scale.", same=False
    ),
    "pad": Example("head", {"shape": [128, 128], "fill": "minimum"}, "A border is added."),
    "percentile": Example("ct", {"low": 40.0, "high": 99.5}, "The outermost values are cut.", same=False),
    "reorient": Example("head", {"orientation": "RAS"}, "Axes in another order; the voxels stay in place."),
    "resample": Example(
        "head", {"spacing": [2.0, 2.0, 2.0], "order": "cubic"}, "Even voxels, seen from the front.", axis=1
    ),
    "rescale": Example("mr", {"scale": 0.5}, "Half of each value.", same=True),
    "resize": Example("mr", {"shape": [40, 40]}, "Another number of voxels over the same field of view."),
    "suv": Example("pet", {}, "The same picture, in SUV.", same=False),
    "to_grid": Example(
        "head", {"shape": [24, 60, 90], "affine": _HEAD_GRID}, "On the grid of another image."
    ),
    "total_variation": Example("noisy head", {"weight": 25.0}, "Regions become flat, edges stay."),
    "transform_to": Example(
        "head",
        {"shape": [24, 96, 96], "affine": _HEAD_GRID, "matrix": _SLOPE},
        "Turned, as a registration found it.",
    ),
    "unsharp": Example("mr", {"sigma": 1.5, "amount": 2.0}, "Edges are steeper."),
    "warp": Example("head", {"displacements": _ripples()}, "Bent by a field of displacements."),
    "wavelet": Example("noisy head", {}, "Noise goes, texture stays."),
    "window": Example(
        "ct", {"low": -160.0, "high": 240.0, "unit": "HU"}, "Soft tissue fills the grey scale.", same=False
    ),
    "zscore": Example("mr", {}, "The same picture: only mean and deviation are others.", same=False),
}


def main(arguments: list[str]) -> int:
    """Write the gallery, or check it; returns the exit status."""
    if missing := sorted((set(STEPS) ^ set(EXAMPLES)) | ({*METHODS, *CLEANERS} ^ set(MASK_EXAMPLES))):
        print("without an example, or examples of nothing:", ", ".join(missing))
        return 1
    index, text = FOLDER / "index.md", page()
    wanted = pictures()
    old = [] if index.is_file() and index.read_text("utf-8") == text else [index]
    old += [path for stem in wanted if not (path := FOLDER / f"{stem}.png").is_file()]
    old += [path for path in sorted(FOLDER.glob("*.png")) if path.stem not in wanted]
    if "--check" in arguments:
        for path in old:
            print("out of date:", path.name)
        return 1 if old else 0
    FOLDER.mkdir(exist_ok=True)
    index.write_text(text, "utf-8")
    for path in FOLDER.glob("*.png"):
        if path.stem not in wanted:
            path.unlink()
    for stem, make in wanted.items():
        save(make(), FOLDER / f"{stem}.png")
    return 0


def pictures() -> dict[str, Callable[[], Image.Image]]:
    """Every picture of the gallery by the stem of its file."""
    made: dict[str, Callable[[], Image.Image]] = {name: partial(picture, name) for name in STEPS}
    return made | {f"mask-{name}": partial(mask_picture, name) for name in MASK_EXAMPLES}


def page() -> str:
    """The text of the page."""
    parts = [
        "# Gallery",
        "<!-- Written by scripts/make_gallery.py; change its table, not this page. -->",
        _INTRODUCTION,
    ]
    for name in STEPS:
        example = EXAMPLES[name]
        shown = example.note if example.same else f"{example.note} (Each side in its own grey range.)"
        parts += [
            f"## {name}",
            f"{shown}",
            f"![{name}: before and after]({name}.png)",
            *_settings(name, example),
        ]
    parts += ["## Masks", _OF_MASKS]
    for name, mask in MASK_EXAMPLES.items():
        parts += [
            f"### {name}",
            mask.note,
            f"![{name}: before and after](mask-{name}.png)",
            f"```toml\n{mask_toml(name)}\n```",
        ]
    return "\n\n".join(parts) + "\n"


def _settings(name: str, example: Example) -> list[str]:
    if callable(example.settings):
        return [f"Fitted by `{example.step(name).name}`'s function on another image."]
    text = Plan.of([example.step(name)]).to_toml().strip()
    # Tables of numbers say nothing to a reader.
    return [f"```toml\n{text}\n```"] if len(text) < 400 else []


def sides(name: str) -> tuple[Volume, Volume]:
    """The volume before and after."""
    before = IMAGES[EXAMPLES[name].image]()
    return before, EXAMPLES[name].step(name)(before)


def picture(name: str) -> Image.Image:
    """Both sides next to each other."""
    example, (before, after) = EXAMPLES[name], sides(name)
    planes = [_plane(each, example.axis) for each in (before, after)]
    ranges = [_range(plane) for plane in planes]
    panels = [_panel(each, plane, example.axis, ranges[0] if example.same else own)
              for each, plane, own in zip((before, after), planes, ranges, strict=True)]  # fmt: skip
    return _beside(*panels)


def mask_picture(name: str) -> Image.Image:
    """The image, or the mask before an edit, next to the mask."""
    volume, before, after = mask_sides(name)
    axis = MASK_EXAMPLES[name].axis
    plane = _plane(volume, axis)
    grey = _grey(plane, _range(plane))
    left = Image.fromarray(grey) if before is None else painted(grey, _plane(before, axis))
    return _beside(*(_sized(one, volume, plane, axis) for one in (left, painted(grey, _plane(after, axis)))))


def _beside(left: Image.Image, right: Image.Image) -> Image.Image:
    whole = Image.new("RGB", (left.width + right.width + _GAP, max(left.height, right.height)), "white")
    whole.paste(left, (0, 0))
    whole.paste(right, (left.width + _GAP, 0))
    return whole


def _plane(volume: Volume | Mask, axis: int) -> NDArray[np.float64]:
    middle = np.take(volume.numpy(), volume.grid.shape[axis] // 2, axis=axis).astype(np.float64)
    # The first slice is the lowest: a coronal slice is drawn with the head up.
    return np.asarray(middle[::-1] if axis == 1 else middle)


def _range(plane: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(plane, (0.2, 99.8))
    return float(low), float(high)


def _panel(volume: Volume, plane: NDArray[np.float64], axis: int, limits: tuple[float, float]) -> Image.Image:
    return _sized(Image.fromarray(_grey(plane, limits)), volume, plane, axis)


def _grey(plane: NDArray[np.float64], limits: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = limits
    return (np.clip((plane - low) / max(high - low, 1e-12), 0, 1) * 255).round().astype(np.uint8)


def _sized(image: Image.Image, volume: Volume, plane: NDArray[np.float64], axis: int) -> Image.Image:
    steps = (1.0, 1.0, 1.0) if volume.grid.flat else volume.grid.spacing
    down, along = (step for number, step in enumerate(steps) if number != axis)
    extent = plane.shape[0] * down, plane.shape[1] * along
    scale = _SIDE / max(extent)
    size = max(1, round(extent[1] * scale)), max(1, round(extent[0] * scale))
    # Voxels are shown as they are, not smoothed away, unless there are more of them than pixels.
    larger = size[0] >= plane.shape[1]
    how = Image.Resampling.NEAREST if larger else Image.Resampling.BOX
    return image.convert("RGB").resize(size, how)


def save(image: Image.Image, path: Path) -> None:
    """Write a PNG with a palette; fewer colours where it would be too large."""
    for colours in (128, 64, 32, 16):
        image.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size < LARGEST:
            return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
