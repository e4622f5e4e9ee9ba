"""Sliding windows and whole volumes: equal where they must be, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from voxlake.core.errors import SettingsError, UsageError
from voxlake.networks.inference_runtime import inference, precision_of
from voxlake.networks.meshnet import MeshNetSettings, build_meshnet
from voxlake.networks.meshnet_module import MeshNet
from voxlake.networks.tiled import Tiling, iter_tiled, tiled_labels
from voxlake.networks.whole import whole_labels, whole_logits

SETTINGS = MeshNetSettings(channels=4, classes=5, dilations=(1, 2, 3, 1), activation="elu")
VALUES = np.random.default_rng(0).random((40, 33, 29), dtype=np.float32)


def network(settings: MeshNetSettings = SETTINGS) -> MeshNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_meshnet(settings).eval()


def at_once(module: nn.Module, values: NDArray[np.float32] = VALUES) -> NDArray[np.float32]:
    with torch.inference_mode():
        return module(torch.from_numpy(values)[None, None])[0].numpy()


def blended(module: nn.Module, tiling: Tiling, values: Any = VALUES) -> NDArray[np.float32]:
    parts, expected = [], 0
    for start, slab in iter_tiled(module, values, tiling, precision="float32"):
        assert start == expected
        assert 0 < slab.shape[1] <= tiling.tile[0]
        expected += slab.shape[1]
        parts.append(slab.copy())
    assert expected == values.shape[-3]
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize(
    "tiling",
    [
        Tiling(tile=(24, 24, 24), overlap=0, weights="constant", margin=7),
        Tiling(tile=(24, 22, 17), overlap=0.3, margin=7),
        Tiling(tile=(16, 40, 40), overlap=0.9, weights="constant", margin=7),
        Tiling(tile=(100, 100, 100), overlap=0.5),
    ],
    ids=["apart", "gaussian", "dense", "one tile"],
)
def test_with_the_margin_that_the_network_needs_tiles_are_the_whole(tiling: Tiling) -> None:
    assert SETTINGS.radius == 7
    module = network()
    expected = at_once(module)
    np.testing.assert_allclose(blended(module, tiling), expected, atol=1e-6)
    labels = tiled_labels(module, VALUES, tiling, precision="float32")
    best, second = np.sort(expected, axis=0)[-1:-3:-1]
    clear = best - second > 1e-5
    np.testing.assert_array_equal(labels[clear], expected.argmax(axis=0)[clear])


def test_without_a_margin_tiles_are_close_but_not_the_whole() -> None:
    module = network()
    apart = np.abs(blended(module, Tiling(tile=(24, 24, 24))) - at_once(module)).max()
    assert 1e-4 < apart < 0.1


class Place(nn.Module):
    """Says where in its tile a voxel lies: the blended result is then known by hand."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.arange(x.shape[2], dtype=torch.float32).view(1, 1, -1, 1, 1).expand(1, 1, *x.shape[2:])


def test_overlapping_tiles_are_blended_by_their_weights() -> None:
    values = np.zeros((6, 2, 2), dtype=np.float32)
    even = blended(Place(), Tiling(tile=(4, 4, 4), overlap=0.5, weights="constant"), values)
    assert even[0, :, 0, 0].tolist() == [0, 1, (2 + 0) / 2, (3 + 1) / 2, 2, 3]
    gauss = blended(Place(), Tiling(tile=(4, 4, 4), overlap=0.5), values)
    near, far = np.exp(-0.5 * (np.array([0.5, 1.5]) / 0.5) ** 2)
    assert gauss[0, 2, 0, 0] == pytest.approx((2 * near + 0 * far) / (near + far))
    assert gauss[0, 3, 0, 0] == pytest.approx((3 * far + 1 * near) / (near + far))


class Lazy:
    """Counts what is read of it."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        self.values, self.shape, self.dtype, self.largest = values, values.shape, values.dtype, 0

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        part = self.values[key]
        self.largest = max(self.largest, part.size)
        return part


def test_a_lazy_array_is_read_by_tiles() -> None:
    lazy = Lazy(VALUES)
    tiling = Tiling(tile=(16, 16, 16), overlap=0.25)
    np.testing.assert_array_equal(blended(network(), tiling, lazy), blended(network(), tiling))
    assert lazy.largest == 16**3


@st.composite
def cuts(draw: st.DrawFn) -> tuple[int, Tiling]:
    size, tile = draw(st.integers(1, 60)), draw(st.integers(1, 24))
    margin = draw(st.integers(0, (tile - 1) // 2))
    tiling = Tiling(
        tile=(tile, tile, tile),
        overlap=draw(st.floats(0, 0.95)),
        weights=draw(st.sampled_from(["gaussian", "constant"])),
        margin=margin,
        fill=draw(st.sampled_from([None, -1.0])),
    )
    return size, tiling


@settings(max_examples=100, deadline=None)
@given(cuts())
def test_every_voxel_counts_once_in_all_whatever_the_cut(cut: tuple[int, Tiling]) -> None:
    size, tiling = cut
    total, before = np.zeros(size), -1
    for part in tiling.parts(0, size):
        assert part.start + part.inside.start == part.place.start > before
        assert part.start + part.inside.stop == part.place.stop
        assert 0 <= part.inside.start < part.inside.stop <= part.length
        assert part.length == (tiling.tile[0] if tiling.fill is not None else min(tiling.tile[0], size))
        total[part.place] += part.share
        before = part.place.start
    np.testing.assert_allclose(total, 1, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(cuts(), st.tuples(*(st.integers(1, 30),) * 3), st.integers(1, 3))
def test_a_network_that_changes_nothing_gives_the_volume_back(
    cut: tuple[int, Tiling], shape: tuple[int, int, int], batch: int
) -> None:
    tiling = cut[1].model_copy(update={"batch": batch, "overlap": min(cut[1].overlap, 0.6)})
    if min(tiling.tile) - 2 * tiling.margin < 4:
        tiling = tiling.model_copy(update={"tile": (12, 9, 14), "margin": 1})
    values = np.random.default_rng(1).random(shape, dtype=np.float32)
    np.testing.assert_allclose(blended(nn.Identity(), tiling, values)[0], values, atol=1e-6)


def test_batches_of_tiles_and_the_engines_change_nothing() -> None:
    module = network()
    tiling = Tiling(tile=(16, 20, 20), overlap=0.4)
    expected = blended(module, tiling)
    np.testing.assert_allclose(blended(module, tiling.model_copy(update={"batch": 3})), expected, atol=1e-6)
    for engine in ("openvino", "onnxruntime", "auto"):
        parts = [slab for _, slab in iter_tiled(module, VALUES, tiling, precision="float32", engine=engine)]
        np.testing.assert_allclose(np.concatenate(parts, axis=1), expected, atol=1e-5)


class Channels(nn.Module):
    """Sum and difference of two channels."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] == 2
        return torch.stack([x[:, 0] + x[:, 1], x[:, 0] - x[:, 1]], dim=1)


def test_volumes_may_have_channels() -> None:
    values = np.stack([VALUES, VALUES[::-1]])
    found = blended(Channels(), Tiling(tile=(16, 16, 16)), values)
    np.testing.assert_allclose(found, [values[0] + values[1], values[0] - values[1]], atol=1e-6)
    labels = tiled_labels(Channels(), values, Tiling(tile=(16, 16)))
    np.testing.assert_array_equal(labels, found[1] > found[0])


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_a_network_of_images_runs_over_all_slices(batch: int) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1)).eval()
    with torch.inference_mode():
        expected = module(torch.from_numpy(VALUES)[:, None]).transpose(0, 1).numpy()
    whole = Tiling(tile=(64, 64), batch=batch)
    np.testing.assert_allclose(blended_flat(module, whole), expected, atol=1e-6)
    tiles = Tiling(tile=(20, 16), batch=batch, overlap=0.3, margin=2)
    np.testing.assert_allclose(blended_flat(module, tiles), expected, atol=1e-6)


def blended_flat(module: nn.Module, tiling: Tiling) -> NDArray[np.float32]:
    slabs = list(iter_tiled(module, VALUES, tiling, precision="float32"))
    assert [start for start, _ in slabs] == list(range(0, len(VALUES), tiling.batch))
    return np.concatenate([slab for _, slab in slabs], axis=1)


class Fixed(nn.Module):
    """Takes one extent only, as networks with dense layers do, and counts its tiles."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[2:] == (8, 8, 8)
        self.calls += len(x)
        return x * 2 + 1


def test_small_volumes_are_padded_for_networks_of_one_extent() -> None:
    values = np.random.default_rng(2).random((5, 8, 13), dtype=np.float32)
    found = blended(Fixed(), Tiling(tile=(8, 8, 8), fill=-3.0), values)
    np.testing.assert_allclose(found[0], values * 2 + 1, atol=1e-6)


def test_empty_tiles_are_computed_once_if_asked() -> None:
    values = np.zeros((24, 16, 8), dtype=np.float32)
    values[3, 4, 5] = 1
    tiling = Tiling(tile=(8, 8, 8), overlap=0, batch=2)
    every, few = Fixed(), Fixed()
    expected = blended(every, tiling, values)
    np.testing.assert_array_equal(blended(few, tiling.model_copy(update={"empty": 0.0}), values), expected)
    assert (every.calls, few.calls) == (6, 2)


def test_networks_that_give_no_maps_are_refused() -> None:
    with pytest.raises(UsageError, match="maps of the extent"):
        tiled_labels(nn.AdaptiveAvgPool3d(1), VALUES, Tiling(tile=(16, 16, 16)))
    with pytest.raises(UsageError, match="cut of"):
        tiled_labels(nn.Identity(), VALUES[0], Tiling(tile=(16, 16)))


def test_the_first_of_level_classes_is_taken() -> None:
    class Level(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x, x, x + 1, x, x + 1], dim=1)

    assert (tiled_labels(Level(), VALUES[:4], Tiling(tile=(4, 40, 40))) == 2).all()
    outputs = np.random.default_rng(3).integers(0, 3, (6, 9, 10, 11)).astype(np.float32)

    class Known(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.from_numpy(outputs)[None]

    found = tiled_labels(Known(), np.zeros((9, 10, 11), np.float32), Tiling(tile=(9, 10, 11)))
    np.testing.assert_array_equal(found, outputs.argmax(axis=0))


def test_settings_that_leave_nothing_are_refused() -> None:
    with pytest.raises(SettingsError, match="nothing left"):
        Tiling.read({"tile": [16, 16, 14], "margin": 7})
    with pytest.raises(SettingsError, match="overlap"):
        Tiling.read({"overlap": 1.0})


@pytest.mark.parametrize("normalisation", ["none", "instance"])
@pytest.mark.parametrize("activation", ["relu", "elu", "gelu"])
@pytest.mark.parametrize("slab", [1, 7, 64])
def test_layer_by_layer_is_the_whole(normalisation: Any, activation: Any, slab: int) -> None:
    module = network(SETTINGS.model_copy(update={"normalisation": normalisation, "activation": activation}))
    values = VALUES[:17]
    expected = at_once(module, values)
    found = whole_logits(module, values, slab=slab, precision="float32")
    np.testing.assert_allclose(found, expected, atol=1e-5)
    labels = whole_labels(module, values, slab=slab, precision="float32")
    best, second = np.sort(expected, axis=0)[-1:-3:-1]
    clear = best - second > 1e-4
    np.testing.assert_array_equal(labels[clear], expected.argmax(axis=0)[clear])


def test_denormal_numbers_are_flushed_only_inside() -> None:
    tiny = torch.tensor(1e-39)
    with inference():
        assert float(tiny * 1.0) == 0
        assert not torch.is_grad_enabled()
    assert float(tiny * 1.0) > 0
    assert torch.is_grad_enabled()


def test_bfloat16_only_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert precision_of("float32") is torch.float32
    for capabilities, expected in (({}, torch.float32), ({"amx_bf16": True}, torch.bfloat16)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found, raising=False)
        assert precision_of("auto") is expected
        assert precision_of("float32") is torch.float32
    module = network()
    clear = np.abs(np.diff(np.sort(at_once(module), axis=0)[-2:], axis=0))[0] > 0.05
    expected = at_once(module).argmax(axis=0)
    for labels in (whole_labels(module, VALUES), tiled_labels(module, VALUES, Tiling(tile=(64, 64, 64)))):
        assert clear.any()
        assert (labels[clear] == expected[clear]).mean() > 0.999


MEASURED = """
import resource, sys
import numpy as np
from voxlake.networks.meshnet import MeshNetSettings, build_meshnet
from voxlake.networks.tiled import Tiling, tiled_labels
import torch
torch.set_num_threads(1)
module = build_meshnet(MeshNetSettings(channels=2, classes=64, dilations=(1, 1))).eval()
values = np.zeros((int(sys.argv[1]), 64, 64), dtype=np.float32)
tiled_labels(module, values[:32], Tiling(tile=(32, 32, 32), overlap=0.25), precision="float32")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tiled_labels(module, values, Tiling(tile=(32, 32, 32), overlap=0.25), precision="float32")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_memory_does_not_grow_with_the_length_of_the_volume() -> None:
    """The outputs of the long one are 64 x 160 x 64 x 64 x 4 bytes, 168 MB."""
    done = subprocess.run([sys.executable, "-c", MEASURED, "160"], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 80
