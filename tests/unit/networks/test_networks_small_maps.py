"""Gradients of small maps are right where a network multiplies in bfloat16."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from voxlake.networks.small_maps import small_maps_exact

# Kernel, extent of the map.
SMALL = [(3, (2, 4, 4)), (3, (1, 1, 1)), (5, (4, 4, 4)), (3, (8, 8, 1))]


@pytest.mark.parametrize(("kernel", "extent"), SMALL)
def test_gradients_of_small_maps_are_those_of_float32(kernel: int, extent: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(8, 8, 1), nn.Conv3d(8, 16, kernel, padding=kernel // 2))
    exact = copy.deepcopy(network)
    x = torch.randn(2, 8, *extent).contiguous(memory_format=torch.channels_last_3d)
    for _ in range(5):
        # What is left unwritten shows as what was there before.
        del (_dirty := [torch.full((size,), float("nan")) for size in (2048, 4096, 16384, 65536)])[:]
        network.zero_grad()
        with small_maps_exact(network), torch.autocast("cpu", dtype=torch.bfloat16):
            output = network(x)
            assert torch.is_autocast_enabled("cpu")
        assert output.dtype == torch.float32
        output.square().sum().backward()
        exact.zero_grad()
        exact(x).square().sum().backward()
        for mine, other in zip(network.parameters(), exact.parameters(), strict=True):
            scale = float(other.grad.abs().max())
            torch.testing.assert_close(mine.grad / scale, other.grad / scale, atol=0.02, rtol=0.0)


def test_other_maps_stay_in_bfloat16_and_hooks_end() -> None:
    network = nn.Conv3d(8, 8, 3, padding=1)
    x = torch.randn(1, 8, 4, 4, 4)
    with small_maps_exact(network):
        assert network(x[..., :2]).dtype == torch.float32
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert network(x).dtype == torch.bfloat16
            assert network(x[..., :2]).dtype == torch.float32
            with pytest.raises(RuntimeError, match="channels"):
                network(x[:, :4, ..., :2])
            assert network(x).dtype == torch.bfloat16
        # Processes that learn together are sent the network as it is.
        pickle.loads(pickle.dumps(network))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert network(x[..., :2]).dtype == torch.bfloat16
