"""Symmetries are undone exactly, and answers are averaged as probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from voxlake.core.errors import UsageError
from voxlake.networks.augmented import Augmented, Symmetry, activated, symmetries
from voxlake.networks.tiled import Tiling, iter_tiled

SQUARE = torch.randn((2, 1, 4, 5, 5), generator=torch.Generator().manual_seed(0))


def test_symmetries_are_counted_once() -> None:
    assert symmetries(()) == (Symmetry(),)
    assert len(symmetries()) == 2
    assert len(symmetries(("row", "column"))) == 4
    assert len(symmetries(("slice", "row", "column"))) == 8
    assert len(symmetries((), turns=True)) == 4
    # The square has 8 symmetries: mirrored along both axes is half a turn.
    assert len(symmetries(("row", "column"), turns=True)) == 8
    assert len(symmetries(("slice", "row", "column"), turns=True)) == 16
    assert symmetries(("column",))[0] == Symmetry()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["slice", "row", "column"]), unique=True).map(tuple),
    st.integers(0, 3),
    st.tuples(*(st.integers(1, 5),) * 5),
)
def test_undoing_gives_the_image_back(flips: tuple, turns: int, shape: tuple[int, ...]) -> None:
    images = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    one = Symmetry(flips, turns)
    assert torch.equal(one.undo(one.apply(images)), images)


def test_what_the_axes_are() -> None:
    image = torch.arange(8.0).reshape(1, 1, 2, 2, 2)
    assert torch.equal(Symmetry(("slice",)).apply(image), image[:, :, [1, 0]])
    assert torch.equal(Symmetry(("row",)).apply(image), image[..., [1, 0], :])
    assert torch.equal(Symmetry(("column",)).apply(image), image[..., [1, 0]])


class Corner(nn.Module):
    """Logits of the first voxel: another one after each symmetry."""

    def forward(self, x: Tensor) -> Tensor:
        first = x.flatten(1)[:, :1]
        return torch.cat([first, -first], dim=1)


def test_probabilities_are_averaged_not_logits() -> None:
    images = SQUARE[:, :, 0]
    found = Augmented(Corner(), symmetries(("column",)))(images)
    left, right = images[:, 0, 0, 0], images[:, 0, 0, -1]
    expected = (torch.sigmoid(2 * left) + torch.sigmoid(2 * right)) / 2
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(found.sum(dim=1), 1, rtol=1e-6)


class Shift(nn.Module):
    """A map that is not symmetric: the voxel to the right."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.roll(x, -1, dims=-1)


def test_maps_are_brought_back() -> None:
    found = Augmented(Shift(), symmetries(("column",)), activation="none")(SQUARE)
    expected = (torch.roll(SQUARE, -1, -1) + torch.roll(SQUARE, 1, -1)) / 2
    np.testing.assert_allclose(found, expected, atol=1e-6)
    same = Augmented(nn.Identity(), symmetries(("slice", "row", "column"), turns=True), activation="none")
    np.testing.assert_allclose(same(SQUARE), SQUARE, atol=1e-6)


def test_an_augmented_network_stands_where_the_network_stands() -> None:
    values = SQUARE[0, 0].numpy()
    network = Augmented(Shift(), symmetries(("row", "column")), activation="sigmoid")
    ((_, slab),) = iter_tiled(network, values, Tiling(tile=(8, 8, 8)), precision="float32")
    np.testing.assert_allclose(slab[0], network(SQUARE[:1])[0, 0], atol=1e-6)


def test_activations() -> None:
    outputs = torch.tensor([[0.0, np.log(3.0)]])
    np.testing.assert_allclose(activated(outputs, "softmax"), [[0.25, 0.75]], rtol=1e-6)
    np.testing.assert_allclose(activated(outputs, "sigmoid"), [[0.5, 0.75]], rtol=1e-6)
    np.testing.assert_allclose(activated(outputs, "none"), outputs)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="square"):
        Augmented(nn.Identity(), [Symmetry(turns=1)])(torch.zeros(1, 1, 4, 6))
    with pytest.raises(UsageError, match="no slices"):
        Augmented(nn.Identity(), [Symmetry(("slice",))])(torch.zeros(1, 1, 4, 4))
    with pytest.raises(UsageError, match="at least one"):
        Augmented(nn.Identity(), [])
