"""Pictures of volumes."""

from __future__ import annotations

import numpy as np

from voxlake.evaluation.slices import picture


def test_the_middle_slice_is_shown() -> None:
    values = np.zeros((5, 4, 6), dtype=np.int16)
    values[2, 1:3, 2:4] = 1000
    shown = picture(values)
    assert (shown.dtype, shown.shape) == (np.uint8, (4, 6))
    assert shown[1, 2] == 255
    assert shown[0, 0] == 0


def test_large_images_become_small_and_keep_their_mean() -> None:
    ramp = np.tile(np.arange(1024, dtype=np.float32), (600, 1))[None]
    shown = picture(ramp)
    assert shown.shape == (150, 256)
    assert np.all(np.diff(shown.astype(int), axis=1) >= 0)
    colour = picture(np.full((1, 700, 700, 3), 7, dtype=np.uint8))
    assert colour.shape == (233, 233, 3)
    assert np.all(colour == 7)


def test_a_constant_image_is_black() -> None:
    assert np.all(picture(np.full((1, 8, 8), 5.0)) == 0)
