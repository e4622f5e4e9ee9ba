"""Maps that are smaller than the kernel of a convolution are learned from as they should be."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from voxlake.networks.small_maps import small_maps_padded

# Extent of the map, convolution.
SMALL: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((2, 4, 4), {"kernel_size": 3, "padding": 1}),
    ((1, 1, 1), {"kernel_size": 3, "padding": 1}),
    ((4, 4, 4), {"kernel_size": 5, "padding": 2}),
    ((8, 8, 1), {"kernel_size": 3, "padding": 1, "stride": 2}),
    ((5, 2, 5), {"kernel_size": 7, "padding": 3, "stride": 2}),
    ((6, 14, 2), {"kernel_size": (7, 1, 5), "padding": (3, 0, 2), "stride": 2, "groups": 16}),
    ((6, 2, 6), {"kernel_size": (7, 7, 2), "padding": (3, 3, 0), "stride": 2, "groups": 16}),
    ((3, 4, 4), {"kernel_size": (3, 2, 3), "padding": "same", "dilation": 2}),
    ((3, 8, 8), {"kernel_size": (2, 9, 3), "padding": (0, 4, 1)}),
]


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("extent", "settings"), SMALL)
def test_small_maps_are_learned_from_as_in_double_precision(
    extent: tuple[int, ...], settings: dict[str, Any], precision: torch.dtype
) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(8, 16, 1), nn.Conv3d(16, 16, **settings))
    exact = copy.deepcopy(network).double()
    x = torch.randn(2, 8, *extent).contiguous(memory_format=torch.channels_last_3d)
    # A convolution with this layout is the one that is wrong.
    network.to(memory_format=torch.channels_last_3d)
    allowed = 0.03 if precision is torch.bfloat16 else 1e-4
    for _ in range(5):
        # What is left unwritten shows as what was there before.
        del (_dirty := [torch.full((size,), float("nan")) for size in (2048, 4096, 16384, 65536)])[:]
        network.zero_grad()
        with (
            small_maps_padded(network),
            torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision is torch.bfloat16),
        ):
            output = network(x)
        assert output.dtype == precision
        assert network[1].padding == nn.Conv3d(16, 16, **settings).padding
        output.float().square().sum().backward()
        exact.zero_grad()
        expected = exact(x.double())
        expected.square().sum().backward()
        pairs = [(output.detach(), expected.detach())]
        pairs += [
            (mine.grad, other.grad)
            for mine, other in zip(network.parameters(), exact.parameters(), strict=True)
        ]
        for mine, other in pairs:
            scale = float(other.abs().max())
            torch.testing.assert_close(mine.double() / scale, other / scale, atol=allowed, rtol=0.0)


def test_images_are_padded_too_and_other_maps_and_kinds_are_left_alone() -> None:
    seen: list[tuple[int, ...]] = []
    network = nn.Conv2d(2, 2, 5, padding=2)
    with small_maps_padded(network):
        network.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape[2:])))
        for extent in ((4, 9), (5, 5)):
            assert network(torch.randn(1, 2, *extent)).shape[2:] == extent
    assert seen == [(8, 13), (5, 5)]
    wrapped = nn.Conv2d(1, 1, 5, padding=2, padding_mode="circular")
    x = torch.randn(1, 1, 4, 4)
    with small_maps_padded(wrapped):
        inside = wrapped(x)
    torch.testing.assert_close(inside, wrapped(x))


def test_hooks_end_and_a_convolution_that_fails_keeps_its_padding() -> None:
    network = nn.Conv3d(8, 8, 3, padding=1)
    x = torch.randn(1, 8, 4, 4, 2)
    with small_maps_padded(network):
        with pytest.raises(RuntimeError, match="channels"):
            network(x[:, :4])
        assert network.padding == (1, 1, 1)
        # Processes that learn together are sent the network as it is.
        again = pickle.loads(pickle.dumps(network))
        torch.testing.assert_close(again(x), network(x))
        assert again.padding == (1, 1, 1)
    assert not network._forward_pre_hooks
    assert not network._forward_hooks
