"""Strided convolutions of 1 x 1 for few channels."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from voxlake.learning.step import layout_of
from voxlake.networks.registry import build, read_settings
from voxlake.networks.subsampled import SubsampledConv2d, overruns, subsample_first

TRAINING = """
import torch
from torch import nn
from voxlake.networks.subsampled import subsample_first
torch.manual_seed(0)
for extent in range(8, 33):
    part = subsample_first(nn.Sequential(nn.Conv2d(4, 8, 1, 2, bias=False)))
    part.to(memory_format=torch.channels_last)
    x = torch.randn(3, 4, extent, 12).to(memory_format=torch.channels_last)
    wanted = nn.functional.conv2d(x.double(), part[0].weight.double(), stride=2)
    gradient = torch.randn(wanted.shape)
    weight = part[0].weight.detach().double().requires_grad_()
    nn.functional.conv2d(x.double(), weight, stride=2).backward(gradient.double())
    part(x).backward(gradient)
    torch.testing.assert_close(part[0].weight.grad.double(), weight.grad, rtol=1e-4, atol=1e-4)
"""


def test_gradients_are_right_and_the_process_ends_well():
    subprocess.run([sys.executable, "-c", TRAINING], check=True)


@pytest.mark.parametrize("bias", [False, True])
def test_what_it_gives_stays_the_same(bias):
    network = nn.Sequential(nn.Conv2d(6, 8, 1, (1, 2), groups=2, bias=bias), nn.ReLU())
    x = torch.randn(2, 6, 7, 9)
    expected = network(x)
    names = list(network.state_dict())
    assert isinstance(subsample_first(network)[0], SubsampledConv2d)
    torch.testing.assert_close(network(x), expected)
    assert list(network.state_dict()) == names


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        (nn.Conv2d(4, 8, 1, 2), True),
        (nn.Conv2d(32, 8, 1, 2, groups=4), True),
        (nn.Conv2d(16, 8, 1, 2), False),
        (nn.Conv2d(4, 8, 1), False),
        (nn.Conv2d(4, 8, 3, 2), False),
        (nn.Conv3d(4, 8, 1, 2), False),
        (SubsampledConv2d(4, 8, 1, 2), False),
    ],
)
def test_which_convolutions_it_is_about(part, wrong):
    assert overruns(part) is wrong


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("resnet", {"widths": [4, 4, 6, 8], "layers": [1, 1, 1, 1]}),
        ("unet", {"channels": [4, 6, 8], "block": "residual"}),
    ],
)
def test_our_networks_have_none(name, settings):
    network = build(name, read_settings(name, settings), in_channels=1, outputs=2, shape=(64, 64), seed=0)
    assert not any(overruns(part) for part in network.modules())
    assert any(isinstance(part, SubsampledConv2d) for part in network.modules())
    assert layout_of(network) is torch.channels_last


def test_somebodys_own_network_is_left_as_it_lies():
    assert layout_of(nn.Sequential(nn.Conv2d(4, 8, 1, 2))) is torch.contiguous_format
