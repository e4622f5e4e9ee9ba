"""Saliency maps are what their papers define, and the check tells learned from unlearned maps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from voxlake.core.errors import UsageError
from voxlake.networks.saliency import METHODS, grad_cam, integrated_gradients, occlusion, saliency
from voxlake.networks.saliency_check import rank_correlation, sanity_check

SHAPES = {2: (6, 9), 3: (4, 5, 6)}


def images(dimensions: int, channels: int = 2, count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(dimensions)
    return torch.randn((count, channels, *SHAPES[dimensions]), generator=generator)


class Linear(nn.Module):
    """Outputs are sums of the image times a weight for each voxel."""

    def __init__(self, dimensions: int, outputs: int = 3) -> None:
        super().__init__()
        shape = (outputs, 2, *SHAPES[dimensions])
        self.weight = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(7)))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.flatten(1).T + 1.5


def convolutional(dimensions: int, *, in_place: bool = False) -> nn.Module:
    torch.manual_seed(3)
    convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
    return nn.Sequential(
        convolution(2, 4, 3, padding=1),
        nn.ReLU(),
        convolution(4, 5, 3, stride=2, padding=1),
        nn.SiLU(inplace=in_place),
        nn.AdaptiveAvgPool2d(1) if dimensions == 2 else nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(5, 3),
    ).eval()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_integrated_gradients_of_a_linear_network(dimensions: int) -> None:
    x, network = images(dimensions), Linear(dimensions)
    targets = [2, 0, 1]
    found = integrated_gradients(network, x, targets, baseline=0.25, steps=1)
    expected = (network.weight.detach()[targets] * (x - 0.25)).sum(dim=1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_integrated_gradients_are_complete(dimensions: int) -> None:
    x, network = 20 * images(dimensions), convolutional(dimensions)
    baseline = x.mean(dim=0, keepdim=True)
    found = integrated_gradients(network, x, baseline=baseline, steps=64, batch_size=10)
    with torch.inference_mode():
        outputs, begin = network(x), network(baseline)
    target = outputs.argmax(dim=1)
    expected = outputs.amax(dim=1) - begin[0, target]
    np.testing.assert_allclose(found.reshape(3, -1).sum(axis=1), expected, atol=5e-3)
    assert float(expected.abs().min()) > 0.03


@pytest.mark.parametrize(("patch", "stride"), [(2, 2), (2, 1), (3, 2), (100, None)])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_occlusion_of_a_linear_network(dimensions: int, patch: int, stride: int | None) -> None:
    x, network = images(dimensions), Linear(dimensions)
    found = occlusion(network, x, [1, 1, 0], patch=patch, stride=stride, value=0.5, batch_size=3)
    lost = (network.weight.detach()[[1, 1, 0]] * (x - 0.5)).sum(dim=1).numpy()
    np.testing.assert_allclose(found, by_hand(lost, patch, stride), atol=1e-4)


def by_hand(lost: NDArray[Any], patch: int, stride: int | None) -> NDArray[Any]:
    """Each voxel: the mean of the sums over the patches that hold it."""
    extent = lost.shape[1:]
    total, count = np.zeros(lost.shape), np.zeros(extent)
    corners = []
    for side in extent:
        size = min(patch, side)
        step = stride or max(1, size // 2)
        corners.append([*range(0, side - size, step), side - size])
    for corner in np.stack(np.meshgrid(*corners, indexing="ij"), -1).reshape(-1, len(extent)):
        box = tuple(slice(at, at + min(patch, side)) for at, side in zip(corner, extent, strict=True))
        total[(slice(None), *box)] += (
            lost[(slice(None), *box)].reshape(len(lost), -1).sum(1).reshape(-1, *(1,) * len(extent))
        )
        count[box] += 1
    return total / count


def test_the_cover_is_the_mean_of_each_channel() -> None:
    x, network = images(2), Linear(2)
    mean = x.mean(dim=(2, 3), keepdim=True)
    lost = (network.weight.detach()[[0, 0, 0]] * (x - mean)).sum(dim=1).numpy()
    np.testing.assert_allclose(occlusion(network, x, [0, 0, 0], patch=4), by_hand(lost, 4, 2), atol=1e-4)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_grad_cam_by_hand(dimensions: int, in_place: bool) -> None:
    x, network = images(dimensions), convolutional(dimensions)
    found = grad_cam(convolutional(dimensions, in_place=in_place), x, [0, 1, 2])
    features = network[:3](x).detach().requires_grad_()
    score = network[3:](features)[[0, 1, 2], [0, 1, 2]].sum()
    (gradient,) = torch.autograd.grad(score, features)
    weights = gradient.flatten(2).mean(dim=2).view(3, 5, *(1,) * dimensions)
    maps = functional.relu((features * weights).sum(dim=1, keepdim=True))
    mode = "bilinear" if dimensions == 2 else "trilinear"
    expected = functional.interpolate(maps, size=x.shape[2:], mode=mode)[:, 0].detach()
    assert float(expected.max()) > 0
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_another_layer_can_be_named() -> None:
    x, network = images(2), convolutional(2)
    assert not np.allclose(grad_cam(network, x), grad_cam(network, x, layer="0"))
    assert np.array_equal(grad_cam(network, x), grad_cam(network, x, layer="2"))
    for layer, message in (("nothing", "no layer"), ("6", "no feature maps")):
        with pytest.raises(UsageError, match=message):
            grad_cam(network, x, layer=layer)
    with pytest.raises(UsageError, match="no convolution"):
        grad_cam(Linear(2), x)


class Masks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(2, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x)


@pytest.mark.parametrize("method", METHODS)
def test_all_methods_on_vectors_and_maps_leave_the_network_as_it_was(method: Any) -> None:
    for network in (convolutional(2), Masks()):
        network.train()
        x = images(2)
        found = saliency(method, network, x, [0, 1, 2])
        assert found.shape == (3, 6, 9)
        assert found.dtype == np.float32
        assert np.isfinite(found).all()
        assert network.training
        assert x.grad is None
        assert all(parameter.grad is None for parameter in network.parameters())
        with pytest.raises(UsageError, match="0 to 2"):
            saliency(method, network, x, [0, 1, 3])


def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """A network that has learned where a bright square lies, left or right, and images of it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((48, 1, 16, 16), generator=generator) * 0.3
    y = torch.arange(48) % 2
    for image, label in zip(x, y.tolist(), strict=True):
        row = int(torch.randint(0, 12, (1,), generator=generator))
        image[0, row : row + 4, 2 + 8 * label : 6 + 8 * label] += 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()),
            *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 2)),
        )
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(25):
        optimiser.zero_grad()
        functional.cross_entropy(network(x), y).backward()
        optimiser.step()
    return network.eval(), x[:6], y[:6]


def test_the_check_tells_what_was_learned_from_what_was_not() -> None:
    network, x, y = trained()
    with torch.inference_mode():
        assert torch.equal(network(x).argmax(dim=1), y)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = sanity_check(grad_cam, network, x, y.tolist(), stages=3)
    assert found.passed
    assert [stage.layers for stage in found.stages] == [1, 2, 3]
    assert [stage.deepest for stage in found.stages] == ["6", "2", "0"]
    assert abs(found.correlation) < 0.5
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert sanity_check(grad_cam, network, x, y.tolist(), stages=3) == found

    def edges(network: nn.Module, images: Tensor, targets: Any) -> NDArray[np.float32]:
        return images[:, 0].diff(dim=-1).abs().numpy()

    deaf = sanity_check(edges, network, x)
    assert not deaf.passed
    assert deaf.correlation == pytest.approx(1)
    with pytest.raises(UsageError, match="no weights"):
        sanity_check(grad_cam, nn.ReLU(), x)


def test_the_bright_square_is_what_speaks_for_the_class() -> None:
    network, x, y = trained()
    square = functional.max_pool2d((x > 1.2).float(), 3, 1, 1)[:, 0].numpy().astype(bool)
    for method in METHODS:
        maps = saliency(method, network, x, y.tolist(), **({"patch": 4} if method == "occlusion" else {}))
        inside = [
            float(one[where].mean() - one[~where].mean()) for one, where in zip(maps, square, strict=True)
        ]
        assert min(inside) > 0, method


def test_rank_correlation_is_spearmans() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 4, (2, 5, 6)).astype(float)
    assert rank_correlation(first, second) == pytest.approx(
        spearmanr(first.ravel(), second.ravel()).statistic
    )
    assert rank_correlation(first, np.exp(first)) == pytest.approx(1)
    assert rank_correlation(first, np.zeros_like(first)) == 0
