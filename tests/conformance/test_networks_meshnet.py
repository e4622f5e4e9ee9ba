"""The trained networks, rebuilt in torch, against the same networks written down in NumPy and SciPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_opening, label, sum_labels
from scipy.special import erf

from voxlake.core.digest import digest_bytes
from voxlake.networks.known import KnownModel
from voxlake.networks.pretrained import PRETRAINED, convert, find_files, load_network
from voxlake.networks.scaling import scaled
from voxlake.networks.tfjs import Convolution, read_layers_model
from voxlake.networks.whole import whole_labels, whole_logits

pytestmark = pytest.mark.realdata

Array = NDArray[np.float64]
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
}


@cache
def _files(folder: Path) -> dict[str, tuple[KnownModel, bytes, bytes]]:
    return {found[0].name: found for found in find_files(folder)}


@pytest.fixture
def files(realdata: Path) -> dict[str, tuple[KnownModel, bytes, bytes]]:
    return _files(realdata / "brainchop_models")


@cache
def _head(path: Path) -> NDArray[np.uint8]:
    return np.asarray(nibabel.load(path).dataobj)


@pytest.fixture
def head(realdata: Path) -> NDArray[np.uint8]:
    return _head(realdata / "brainchop_models" / "t1_crop.nii.gz")


def convolve(x: Array, layer: Convolution) -> Array:
    """(D, H, W, C) to (D, H, W, C'), zeros around; the sum over the taps, as the definition has it."""
    reach = [layer.dilation * (size // 2) for size in layer.kernel.shape[:3]]
    padded = np.pad(x, [*((each, each) for each in reach), (0, 0)])
    out = np.zeros((*x.shape[:3], layer.kernel.shape[4]))
    for tap in np.ndindex(*layer.kernel.shape[:3]):
        box = tuple(
            slice(layer.dilation * place, layer.dilation * place + size)
            for place, size in zip(tap, x.shape[:3], strict=True)
        )
        out += padded[box] @ layer.kernel[tap].astype(np.float64)
    return out if layer.bias is None else out + layer.bias


def reference(x: Array, layers: tuple[Convolution, ...]) -> list[Array]:
    """Output of every layer, (D, H, W, C)."""
    outputs = []
    for layer in layers:
        x = convolve(x, layer)
        if layer.bias is None:
            x = (x - x.mean(axis=(0, 1, 2))) / np.sqrt(x.var(axis=(0, 1, 2)) + 1e-5)
        x = ACTIVATIONS[layer.activation](x)
        outputs.append(x)
    return outputs


@pytest.mark.parametrize("name", sorted(PRETRAINED))
def test_every_layer_is_what_the_definition_says(name: str, files: dict, head: NDArray[np.uint8]) -> None:
    model, topology, weights = files[name]
    data = convert(model, topology, weights)
    network = load_network(model, data, sha256=digest_bytes(data))
    crop = scaled(head[118:136, 100:120, 110:126], model.scaling)
    layers = read_layers_model(topology, {"model.bin": weights, "group1-shard1of1.bin": weights}).convolutions
    expected = reference(crop[..., None].astype(np.float64), layers)
    x = torch.from_numpy(np.ascontiguousarray(crop))[None, None]
    with torch.inference_mode():
        for layer, wanted in zip([*network.convolutions, network.head], expected, strict=True):
            x = layer(x)
            if layer is not network.head:
                x = network.between(x)
            np.testing.assert_allclose(
                x[0].numpy(), np.moveaxis(wanted, 3, 0), rtol=2e-4, atol=2e-4 * np.abs(wanted).max()
            )
    logits = np.moveaxis(expected[-1], 3, 0)
    found = whole_logits(network, np.ascontiguousarray(crop), slab=5, precision="float32")
    np.testing.assert_allclose(found, logits, rtol=2e-4, atol=2e-4 * np.abs(logits).max())
    labels = whole_labels(network, np.ascontiguousarray(crop), slab=7, precision="float32")
    best, second = np.sort(logits, axis=0)[-1:-3:-1]
    clear = best - second > 1e-2
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(labels[clear], logits.argmax(axis=0)[clear])


def classical_brain(head: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Brain by threshold, opening and the largest piece: rough, and without any network."""
    bright = binary_opening((head > 60) & (head < 180), iterations=3)
    pieces, count = label(bright)
    sizes = sum_labels(bright, pieces, range(1, count + 1))
    return np.asarray(pieces == 1 + int(np.argmax(sizes)))


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return 2 * float((one & other).sum()) / float(one.sum() + other.sum())


@pytest.mark.slow
def test_tissue_of_a_whole_head(files: dict, head: NDArray[np.uint8]) -> None:
    """Counts of an independent computation in NumPy, which the data set records, to a ten-thousandth."""
    model, topology, weights = files["brainchop-tissue-light"]
    data = convert(model, topology, weights)
    network = load_network(model, data, sha256=digest_bytes(data))
    labels = whole_labels(network, scaled(head, model.scaling), precision="float32")
    counts = np.bincount(labels.reshape(-1), minlength=3)
    assert counts[1] == pytest.approx(518_540, rel=1e-4)
    assert counts[2] == pytest.approx(735_212, rel=1e-4)
    brain = labels > 0
    pieces, count = label(brain)
    sizes = sum_labels(brain, pieces, range(1, count + 1))
    assert max(sizes) / brain.sum() > 0.99
    assert 1100 < brain.sum() / 1000 < 1400
    assert dice(brain, classical_brain(head)) > 0.8
