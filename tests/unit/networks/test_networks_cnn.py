"""The textbook network: shapes, parameters, seeds and what it refuses."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from voxlake.core.errors import SettingsError
from voxlake.networks.cnn import CNNSettings, build_cnn
from voxlake.networks.registry import build, read_settings


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


PARTS = {
    "activation": ["relu", "leaky_relu", "gelu", "silu", "elu"],
    "normalisation": ["batch", "instance", "group", "none"],
    "pooling": ["max", "average", "stride"],
    "head": ["global_average", "global_max", "flatten"],
}


@pytest.mark.parametrize(("part", "choice"), [(part, choice) for part in PARTS for choice in PARTS[part]])
def test_every_part_can_be_chosen(part, choice):
    for dimensions, residual, head in [(2, False, "flatten"), (3, True, "global_average")]:
        settings = CNNSettings(
            dimensions=dimensions,
            blocks=(3, 4),
            kernel_sizes=(5, 1),
            convolutions=2,
            residual=residual,
            **({"head": head} | {part: choice}),
            hidden=(6,),
            dropout=0.1,
        )
        shape = (9,) * dimensions
        network = build_cnn(settings, in_channels=1, outputs=2, shape=shape)
        logits = network(torch.randn(2, 1, *shape))
        assert logits.shape == (2, 2)
        assert torch.isfinite(logits).all()


def test_the_textbook_example_has_the_parameters_of_the_textbook():
    settings = CNNSettings(
        blocks=(32,), kernel_sizes=3, padding="valid", normalisation="none", head="flatten"
    )
    network = build_cnn(settings, in_channels=1, outputs=10, shape=(28, 28))
    # 32 kernels of 3 x 3 with bias; 13 x 13 x 32 values into ten outputs with bias
    assert _parameters(network) == 32 * 9 + 32 + 13 * 13 * 32 * 10 + 10


def test_convolution_is_the_operation_of_the_textbook():
    settings = CNNSettings(blocks=(1,), normalisation="none", padding="valid", head="flatten")
    network = build_cnn(settings, in_channels=1, outputs=2, shape=(4, 4))
    image = torch.arange(16.0).view(1, 1, 4, 4)
    weight = network.state_dict()["0.0.weight"][0, 0]
    bias = network.state_dict()["0.0.bias"]
    maps = [
        (image[0, 0, row : row + 3, column : column + 3] * weight).sum() + bias[0]
        for row in (0, 1)
        for column in (0, 1)
    ]
    expected = network[-1](torch.stack(maps).max().relu().view(1, 1))
    torch.testing.assert_close(network(image), expected)


def test_residual_blocks_add_their_input():
    settings = CNNSettings(blocks=(3,), residual=True, normalisation="none", activation="relu")
    block = build_cnn(settings, in_channels=3, outputs=2, shape=(8, 8))[0]
    for parameter in block.body.parameters():
        nn.init.zeros_(parameter)
    image = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(block(image), image.relu())


def test_group_normalisation_divides_the_channels():
    network = build_cnn(
        CNNSettings(blocks=(12,), normalisation="group"), in_channels=1, outputs=2, shape=(8, 8)
    )
    assert [part.num_groups for part in network.modules() if isinstance(part, nn.GroupNorm)] == [4]


def test_equal_seeds_give_equal_weights_and_leave_the_random_state_alone():
    before = torch.get_rng_state()
    first, again, other = (
        build("cnn", CNNSettings(blocks=(4,)), in_channels=1, outputs=2, shape=(8, 8), seed=seed)
        for seed in (7, 7, 8)
    )
    assert torch.equal(torch.get_rng_state(), before)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert not torch.equal(first[0][0].weight, other[0][0].weight)


def test_too_small_images_are_refused_with_the_block_that_fails():
    with pytest.raises(
        SettingsError, match=r"\(16, 12\) are too small for 4 blocks: block 4 ends with \(2, 1\)"
    ):
        build_cnn(CNNSettings(), in_channels=1, outputs=2, shape=(16, 12))
    build_cnn(CNNSettings(), in_channels=1, outputs=2, shape=(16, 16))


def test_valid_padding_counts_towards_too_small():
    settings = CNNSettings(blocks=(4, 4), kernel_sizes=5, padding="valid")
    build_cnn(settings, in_channels=1, outputs=2, shape=(16, 16))
    with pytest.raises(SettingsError, match="block 2"):
        build_cnn(settings, in_channels=1, outputs=2, shape=(15, 15))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"block": [8]}, "did you mean 'blocks'"),
        ({"blocks": []}, "blocks"),
        ({"blocks": [8, 0]}, "greater than 0"),
        ({"activation": "rlu"}, "relu"),
        ({"blocks": [8, 8], "kernel_sizes": [3]}, "1 kernel_sizes for 2 blocks"),
        ({"kernel_sizes": 4}, "padding = 'valid'"),
        ({"dropout": 1.0}, "less than 1"),
        ({"residual": True, "padding": "valid"}, "padding = 'same'"),
        ({"dimensions": 4}, "2 or 3"),
    ],
)
def test_settings_that_do_not_fit_are_refused(values, message):
    with pytest.raises(SettingsError, match=message):
        read_settings("cnn", values)


def test_unknown_networks_and_foreign_settings_are_refused():
    with pytest.raises(SettingsError, match="did you mean 'cnn'"):
        read_settings("cn", {})
    with pytest.raises(SettingsError, match="2 axes"):
        build_cnn(CNNSettings(dimensions=3), in_channels=1, outputs=2, shape=(32, 32))
    foreign = type("OtherSettings", (CNNSettings.__base__,), {})()
    with pytest.raises(SettingsError, match="takes CNNSettings, got OtherSettings"):
        build("cnn", foreign, in_channels=1, outputs=2, shape=(32, 32), seed=0)


def test_settings_can_be_read_without_torch():
    script = (
        "import sys; sys.modules['torch'] = None; "
        "from voxlake.learning.task import load_task; "
        'print(load_task(\'name = "t"\\ncohort = "c"\\ntarget = "x"\\nplan = "p"\').network[\'blocks\'])'
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[16, 32, 64, 128]"


@pytest.mark.parametrize(
    ("head", "of_each_channel"), [("global_average", torch.mean), ("global_max", torch.amax)]
)
def test_global_heads_bring_each_channel_to_one_value(head, of_each_channel):
    settings = CNNSettings(dimensions=3, blocks=(3,), head=head)
    network = build_cnn(settings, in_channels=1, outputs=2, shape=(4, 6, 8)).eval()
    volume = torch.randn(2, 1, 4, 6, 8)
    maps = network[1](network[0](volume))
    torch.testing.assert_close(network(volume), network[-1](of_each_channel(maps, dim=(2, 3, 4))))
