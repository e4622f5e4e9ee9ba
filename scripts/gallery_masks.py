"""Methods and edits of mask plans in the gallery: the image on the left, the mask in colours on the right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gallery_images import IMAGES
from numpy.typing import NDArray
from PIL import Image

from voxlake.core.mask_plan import MaskPlan
from voxlake.core.volume import Mask, Volume
from voxlake.processing.segment.registry import CLEANERS, METHODS
from voxlake.processing.segment.threshold import Threshold

__all__ = ["MASK_EXAMPLES", "MaskExample", "mask_sides", "mask_toml", "painted"]

# Red, green, blue, ...: classes in the order of their values.
_COLOURS = np.array(
    [[230, 60, 50], [60, 180, 75], [60, 110, 230], [240, 190, 40], [160, 70, 200], [60, 200, 210]], float
)
_SHARE = 0.5
_EDITED = Threshold(low=110.0, high=145.0)


@dataclass(frozen=True)
class MaskExample:
    """How a method or an edit is shown.

    Parameters
    ----------
    image : str
        Key of `IMAGES`.
    settings : mapping
        What it gets.
    note : str
        What to look at.
    axis : int
        The middle along this axis is shown.
    """

    image: str
    settings: Mapping[str, Any]
    note: str
    axis: int = 0


_SEED = {"seeds": [[12, 50, 40]], "places": "voxel"}

MASK_EXAMPLES: dict[str, MaskExample] = {
    "airways_ct": MaskExample("chest", {}, "The lumen of the trachea and the main bronchi.", 1),
    "body_ct": MaskExample("chest", {}, "The body with all that it encloses."),
    "bone_ct": MaskExample("chest", {}, "Ribs, spine and sternum."),
    "brain_mr": MaskExample("head", {}, "The brain without skull and scalp."),
    "chan_vese": MaskExample(
        "noisy head", {"low": 70.0, "high": 200.0}, "Two even regions, in spite of noise."
    ),
    "close": MaskExample("noisy head", {"radius": 2.5}, "Gaps up to twice the radius are closed."),
    "dilate": MaskExample("noisy head", {"radius": 2.5}, "The region has grown."),
    "erode": MaskExample("noisy head", {"radius": 2.5}, "The region has shrunk."),
    "fill_holes": MaskExample("noisy head", {"within": "slices"}, "What the region encloses belongs to it."),
    "gaussian_mixture": MaskExample("noisy head", {"classes": 3, "over": 20.0}, "Tissues by their values."),
    "geodesic_contour": MaskExample(
        "head", {"low": 36.0, "high": 44.0, "rounds": 10, "sigma": 2.0}, "It grows until edges hold it."
    ),
    "keep_largest": MaskExample("noisy head", {}, "Only the largest component is left."),
    "kmeans": MaskExample("head", {"classes": 4, "over": 15.0}, "Classes of values around means."),
    "li": MaskExample("mr", {}, "Above the threshold of minimum cross entropy."),
    "lungs_ct": MaskExample("chest", {}, "The right and the left lung, without the airways."),
    "lungs_xray": MaskExample("radiograph", {}, "The lungs of a drawn radiograph."),
    "open": MaskExample("noisy head", {"radius": 2.0}, "What is thinner than twice the radius goes."),
    "otsu": MaskExample("mr", {"classes": 3}, "Three classes of values that differ most."),
    "random_walker": MaskExample(
        "noisy head", {"below": 40.0, "above": 135.0}, "Each voxel to its likelier seed."
    ),
    "region_grow": MaskExample("head", {**_SEED, "low": 30.0, "high": 55.0}, "What is connected to a seed."),
    "remove_small": MaskExample("noisy head", {"size": 4000.0}, "Components under 4 ml are gone."),
    "threshold": MaskExample("ct", {"low": 200.0, "unit": "HU"}, "Values over 200 HU."),
    "watershed": MaskExample("head", {"below": 40.0, "above": 90.0}, "The border follows the edges."),
}


def mask_toml(name: str) -> str:
    """The part of a mask plan that names it."""
    plan = _plan(name)
    return plan.to_toml().strip().removeprefix("version = 1").strip()


def mask_sides(name: str) -> tuple[Volume, Mask | None, Mask]:
    """The image, the mask before (of an edit), and the mask."""
    volume = IMAGES[MASK_EXAMPLES[name].image]()
    if name in METHODS:
        return volume, None, _plan(name).segment(volume)
    before = _EDITED(volume)
    return volume, before, _plan(name).clean[0](before, volume)


def painted(grey: NDArray[np.uint8], mask: NDArray[Any]) -> Image.Image:
    """A grey picture with its labels in colours."""
    colours = np.repeat(grey[..., None].astype(float), 3, axis=-1)
    inside = mask > 0
    colours[inside] *= 1 - _SHARE
    colours[inside] += _SHARE * _COLOURS[(mask[inside].astype(int) - 1) % len(_COLOURS)]
    return Image.fromarray(colours.round().astype(np.uint8))


def _plan(name: str) -> MaskPlan:
    settings = MASK_EXAMPLES[name].settings
    if name in METHODS:
        return MaskPlan(METHODS[name].read(settings))
    return MaskPlan(_EDITED, clean=(CLEANERS[name].read(settings),))
