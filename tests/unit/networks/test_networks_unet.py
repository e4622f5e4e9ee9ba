"""U-Nets: equal to MONAI's with its weights, any extent, supervision, gates, and what they refuse."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from voxlake.core.errors import SettingsError
from voxlake.networks.attention_gate import AttentionGate
from voxlake.networks.attention_unet import AttentionUNetSettings, build_attention_unet
from voxlake.networks.instance_norm import InstanceNorm
from voxlake.networks.registry import read_settings
from voxlake.networks.unet import UNetSettings, build_unet

# One worker makes what they share.
pytestmark = pytest.mark.xdist_group("monai")


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _copy_dynunet(theirs: nn.Module, ours: nn.Module) -> None:
    """Weights of MONAI's network into ours: both have them in the order of the computation."""
    given = theirs.state_dict()
    stages = ["input_block", *(f"downsamples.{n}" for n in range(len(theirs.downsamples))), "bottleneck"]
    names = [name for stage in stages for name in given if name.startswith(f"{stage}.")]
    for stage in range(len(theirs.upsamples)):
        up = [name for name in given if name.startswith(f"upsamples.{stage}.")]
        names += up
    # in a block, MONAI has both convolutions before both normalisations
    order = {"transp_conv": 0, "conv1": 1, "norm1": 2, "conv2": 3, "norm2": 4, "conv3": 5, "norm3": 6}

    def place(name: str) -> tuple[int, int]:
        part = next(part for part in reversed(name.split(".")) if part in order)
        return order[part], int(name.endswith("bias"))

    def block(name: str) -> str:
        return ".".join(name.split(".")[: 1 if name.split(".")[1].startswith(("conv", "norm")) else 2])

    blocks = list(dict.fromkeys(block(name) for name in names))
    tensors = [
        given[name] for each in blocks for name in sorted((n for n in names if block(n) == each), key=place)
    ]
    tensors += [given["output_block.conv.conv.weight"], given["output_block.conv.conv.bias"]]
    wanted = list(ours.state_dict().values())
    assert len(tensors) == len(wanted)
    for target, tensor in zip(wanted, tensors, strict=True):
        target.copy_(tensor.view_as(target))


@pytest.mark.parametrize("block", ["plain", "residual"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_outputs_and_gradients_are_those_of_dynunet_with_its_weights(block, dimensions):
    from monai.networks.nets import DynUNet

    strides = [1, 2, (2, 1, 2)[-dimensions:]]
    # alike at all stages: in its decoder MONAI takes the kernel of the coarser stage, we that of the finer
    kernels = [(3, 1, 3)[-dimensions:]] * 3
    torch.manual_seed(0)
    theirs = DynUNet(
        dimensions,
        2,
        3,
        kernels,
        strides,
        strides[1:],
        filters=[4, 6, 8],
        res_block=block == "residual",
    )
    settings = UNetSettings(
        dimensions=dimensions,
        channels=(4, 6, 8),
        kernel_sizes=tuple(kernels),
        strides=tuple(strides),
        block=block,
        decoder_convolutions=2,
    )
    shape = (12, 8, 12)[-dimensions:]
    ours = build_unet(settings, in_channels=2, outputs=3, shape=shape)
    assert _parameters(ours) == _parameters(theirs)
    # norms with weights other than 1 and 0
    for part in theirs.modules():
        if hasattr(part, "weight") and part.weight is not None and part.weight.dim() == 1:
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias)
    with torch.no_grad():
        _copy_dynunet(theirs, ours)
    images, cotangent = _draw(3, 2, *shape), _draw(3, 3, *shape, seed=1)
    mine, other = images.clone().requires_grad_(), images.clone().requires_grad_()
    result, expected = ours(mine), theirs(other)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
    torch.autograd.backward([result, expected], [cotangent, cotangent])
    torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), expected, rtol=1e-4, atol=1e-4)


def test_the_default_volume_network_has_the_parameters_that_were_counted():
    network = build_unet(UNetSettings(dimensions=3), in_channels=1, outputs=2, shape=(32, 32, 32))
    widths = [1, 16, 32, 64, 128, 256]
    norm = 2
    encoder = sum(27 * a * b + 27 * b * b + 2 * norm * b for a, b in pairwise(widths))
    decoder = sum(8 * b * a + 27 * 2 * a * a + norm * a for a, b in pairwise(widths[1:]))
    assert _parameters(network) == encoder + decoder + 16 * 2 + 2


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_instance_normalisation_has_the_values_and_gradients_of_torch(layout):
    ours, theirs = InstanceNorm(3).double(), nn.InstanceNorm3d(3, affine=True).double()
    for part in (ours, theirs):
        with torch.no_grad():
            part.weight.copy_(torch.tensor([0.5, -1.0, 2.0]))
            part.bias.copy_(torch.tensor([0.1, 0.2, -0.3]))
    results = []
    for part in (ours, theirs):
        x = (5 + 2 * _draw(2, 3, 4, 5, 6)).double().contiguous(memory_format=layout).requires_grad_()
        y = part(x)
        # a gradient that lies in memory otherwise than the maps
        y.backward(_draw(2, 6, 4, 5, 6, seed=1).double()[:, 1:4])
        results.append((y, x.grad, part.weight.grad, part.bias.grad))
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other)
    assert results[0][0].is_contiguous(memory_format=layout)
    x = _draw(2, 3, 4, 5, 6).double()
    torch.testing.assert_close(ours.eval()(x), ours.train()(x))


@pytest.mark.parametrize("layout", [torch.channels_last_3d, torch.contiguous_format])
def test_instance_normalisation_of_bfloat16_is_that_of_its_values(layout):
    ours, exact = InstanceNorm(3), nn.InstanceNorm3d(3, affine=True).double()
    x = (5 + 2 * _draw(2, 3, 4, 5, 6)).bfloat16().contiguous(memory_format=layout)
    gradient = _draw(2, 3, 4, 5, 6, seed=1).bfloat16()
    results = []
    for part, values in ((ours, x), (exact, x.double())):
        leaf = values.detach().requires_grad_()
        y = part(leaf)
        y.backward(gradient.to(y.dtype))
        results.append((y, leaf.grad, part.weight.grad, part.bias.grad))
    assert [one.dtype for one in results[0]] == [torch.bfloat16] * 2 + [torch.float32] * 2
    for mine, other in zip(*results, strict=True):
        # Rounded once, to 8 bits.
        torch.testing.assert_close(mine.double(), other, rtol=2**-8, atol=2e-2)
    assert results[0][0].grad_fn.name() == "_PerImageBackward"


@pytest.mark.parametrize(
    ("dimensions", "strides"), [(2, None), (3, None), (3, (2, (1, 2, 3), 2)), (2, ((1, 2), 3, (2, 1)))]
)
@pytest.mark.parametrize("build", [build_unet, build_attention_unet])
def test_outputs_have_the_extent_of_the_input_whatever_it_is(build, dimensions, strides):
    kind = UNetSettings if build is build_unet else AttentionUNetSettings
    settings = kind(dimensions=dimensions, channels=(4, 6, 8), strides=strides)
    network = build(settings, in_channels=1, outputs=2, shape=(24,) * dimensions)
    for extents in [(24, 24, 24), (13, 17, 15), (7, 23, 10)]:
        shape = extents[-dimensions:]
        assert network(_draw(1, 1, *shape)).shape == (1, 2, *shape)


def test_no_voxel_is_left_out_of_odd_extents():
    network = build_unet(
        UNetSettings(channels=(4, 6, 8), normalisation="none"), in_channels=1, outputs=1, shape=(13, 11)
    )
    image = _draw(1, 1, 13, 11).requires_grad_()
    network(image).sum().backward()
    assert (image.grad != 0).all()


def test_deep_supervision_gives_a_list_in_training_only():
    settings = UNetSettings(channels=(4, 6, 8, 8), deep_supervision=2)
    network = build_unet(settings, in_channels=1, outputs=3, shape=(20, 18))
    image = _draw(2, 1, 20, 18)
    outputs = network(image)
    assert [tuple(each.shape) for each in outputs] == [(2, 3, 20, 18), (2, 3, 10, 9), (2, 3, 5, 5)]
    torch.testing.assert_close(network.eval()(image), outputs[0], rtol=1e-4, atol=1e-5)
    torch.autograd.backward(functional.cross_entropy(outputs[2], torch.zeros(2, 5, 5, dtype=torch.long)))
    assert network.head.linear.weight.grad is None
    assert network.coarse_heads[1].linear.weight.grad.any()


def test_blocks_and_convolutions_are_as_many_as_asked_for():
    settings = UNetSettings(channels=(4, 6, 8), blocks=(1, 2, 3), decoder_convolutions=2, dropout=0.1)
    network = build_unet(settings, in_channels=1, outputs=2, shape=(16, 16))
    count = [
        sum(isinstance(part, nn.Conv2d) for part in stage.modules())
        for stage in (*network.encoder, *network.decoder)
    ]
    assert count == [2, 4, 6, 2, 2]
    assert sum(isinstance(part, nn.Dropout2d) for part in network.modules()) == sum(count)


@pytest.mark.parametrize("normalisation", ["instance", "batch", "group", "none"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu", "silu", "elu"])
def test_every_normalisation_goes_with_every_activation(normalisation, activation):
    for block in ("plain", "residual"):
        settings = UNetSettings(
            channels=(4, 6), block=block, normalisation=normalisation, activation=activation
        )
        network = build_unet(settings, in_channels=1, outputs=2, shape=(8, 8))
        network(_draw(2, 1, 8, 8)).square().sum().backward()
        assert all(parameter.grad.any() for parameter in network.parameters())


def test_gates_multiply_the_bridge_by_the_formula_of_the_paper():
    gate = AttentionGate(4, 6, (2, 2))
    bridge, signal = _draw(1, 4, 5, 6), _draw(1, 6, 3, 3, seed=1)
    weights = {name: tensor.numpy().astype(float) for name, tensor in gate.state_dict().items()}
    padded = np.zeros((4, 6, 6))
    padded[:, :5] = bridge[0].numpy()
    coarse = np.zeros((3, 3))
    for row in range(3):
        for column in range(3):
            patch = padded[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            asked = np.einsum("ocij,cij->o", weights["theta.convolution.weight"], patch)
            asked += weights["theta.convolution.bias"] + weights["phi.linear.bias"]
            asked += weights["phi.linear.weight"] @ signal[0, :, row, column].numpy()
            inner = weights["psi.linear.weight"][0] @ np.maximum(asked, 0) + weights["psi.linear.bias"][0]
            coarse[row, column] = 1 / (1 + np.exp(-inner))
    attention = gate.attention(bridge, signal)[0, 0].detach().numpy()
    assert attention.shape == (5, 6)
    # linear interpolation: a quarter of the way from one centre to the next
    assert attention[0, 0] == pytest.approx(coarse[0, 0], abs=1e-6)
    between = 0.75 * coarse[:2] + 0.25 * coarse[1:]
    assert attention[1, 1] == pytest.approx(0.75 * between[0, 0] + 0.25 * between[0, 1], abs=1e-6)
    result = gate(bridge, signal)[0].detach().numpy()
    np.testing.assert_allclose(result, bridge[0].numpy() * attention, rtol=1e-6)


def test_open_gates_leave_the_network_as_it_was_without_them():
    gated = build_attention_unet(
        AttentionUNetSettings(channels=(4, 6)), in_channels=1, outputs=2, shape=(8, 8)
    )
    plain = build_unet(UNetSettings(channels=(4, 6)), in_channels=1, outputs=2, shape=(8, 8))
    plain.load_state_dict({k: v for k, v in gated.state_dict().items() if ".gate." not in k})
    image = _draw(1, 1, 8, 8)
    assert not torch.allclose(gated(image), plain(image))
    nn.init.constant_(gated.decoder[0].gate.psi.linear.bias, 100.0)
    torch.testing.assert_close(gated(image), plain(image))


@pytest.mark.parametrize("build", [build_unet, build_attention_unet])
@pytest.mark.parametrize("block", ["plain", "residual"])
def test_one_batch_is_learned_by_heart(build, block):
    kind = UNetSettings if build is build_unet else AttentionUNetSettings
    torch.manual_seed(0)
    network = build(kind(channels=(8, 16), block=block), in_channels=1, outputs=2, shape=(13, 12))
    image = _draw(2, 1, 13, 12)
    target = (_draw(2, 13, 12, seed=1) > 0).long()
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(50):
        optimiser.zero_grad()
        loss = functional.cross_entropy(network(image), target)
        torch.autograd.backward(loss)
        optimiser.step()
    assert loss.item() < 0.1


def test_mixed_precision_trains():
    network = build_unet(UNetSettings(channels=(4, 6)), in_channels=1, outputs=2, shape=(8, 8))
    image = _draw(2, 1, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(image)
    torch.testing.assert_close(output.float(), network(image), rtol=0.1, atol=0.1)
    output.float().square().sum().backward()
    assert all(parameter.grad.any() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channels": [8]}, "at least 2"),
        ({"channels": [8, 8], "strides": [1, 2, 2]}, "3 strides for 2 stages"),
        ({"channels": [8, 8], "strides": [1, [2, 2, 2]]}, "3 values of strides for dimensions = 2"),
        ({"channels": [8, 8], "kernel_sizes": [3, [3, 2]]}, "take odd ones"),
        ({"channels": [8, 8], "blocks": [1]}, "1 blocks for 2 stages"),
        ({"channels": [8, 8, 8], "deep_supervision": 2}, "1 outputs beside the finest"),
        ({"block": "dense"}, "residual"),
        ({"deep_supervison": 1}, "did you mean 'deep_supervision'"),
    ],
)
@pytest.mark.parametrize("name", ["unet", "attention_unet"])
def test_settings_that_do_not_fit_are_refused(name, values, message):
    with pytest.raises(SettingsError, match=message):
        read_settings(name, values)


def test_images_that_are_too_small_are_refused():
    with pytest.raises(SettingsError, match=r"stage 5 gets \(1, 2\).*set fewer channels"):
        build_unet(UNetSettings(), in_channels=1, outputs=2, shape=(8, 16))
    with pytest.raises(SettingsError, match="single place"):
        build_unet(UNetSettings(), in_channels=1, outputs=2, shape=(16, 16))
    build_unet(UNetSettings(normalisation="batch"), in_channels=1, outputs=2, shape=(16, 16))
    with pytest.raises(SettingsError, match="set dimensions = 3"):
        build_attention_unet(AttentionUNetSettings(), in_channels=1, outputs=2, shape=(16, 16, 16))
