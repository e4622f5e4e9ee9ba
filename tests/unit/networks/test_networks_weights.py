"""Weights on disk: equal bytes for equal weights, nothing that does not fit is let in."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from torch import nn

from voxlake.core.errors import IntegrityError, NotFoundError
from voxlake.networks.cnn import CNNSettings
from voxlake.networks.registry import build
from voxlake.networks.weights import (
    load_weights,
    read_tensors,
    save_weights,
    weights_from_bytes,
    weights_to_bytes,
)


def _network(seed: int = 0, blocks: tuple[int, ...] = (4, 8)) -> nn.Module:
    return build("cnn", CNNSettings(blocks=blocks), in_channels=1, outputs=2, shape=(16, 16), seed=seed)


def _equal(first: nn.Module, second: nn.Module) -> bool:
    others = second.state_dict()
    return all(torch.equal(tensor, others[name]) for name, tensor in first.state_dict().items())


def test_weights_and_metadata_come_back(tmp_path):
    first, second = _network(0), _network(1)
    first.to(memory_format=torch.channels_last)
    first[0][1].running_mean.add_(3)
    digest = save_weights(tmp_path / "deep" / "w.safetensors", first, {"task": "pneumonia", "ü": "1"})
    assert digest == hashlib.sha256((tmp_path / "deep" / "w.safetensors").read_bytes()).hexdigest()
    assert not _equal(first, second)
    metadata = load_weights(tmp_path / "deep" / "w.safetensors", second, sha256=digest)
    assert metadata == {"task": "pneumonia", "ü": "1"}
    assert _equal(first, second)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["w.safetensors"]


def test_equal_weights_have_equal_bytes_whatever_the_memory_layout():
    metadata = {name: name for name in "abcdefgh"}
    expected = weights_to_bytes(_network(), metadata)
    for _ in range(5):
        assert weights_to_bytes(_network(), dict(reversed(metadata.items()))) == expected
    assert weights_to_bytes(_network().to(memory_format=torch.channels_last), metadata) == expected
    assert weights_to_bytes(_network(1), metadata) != expected


def test_bytes_with_another_digest_are_refused_and_change_nothing():
    data, network = weights_to_bytes(_network(1)), _network(0)
    with pytest.raises(IntegrityError, match="expected 00"):
        weights_from_bytes(network, data, sha256="00")
    assert _equal(network, _network(0))


@pytest.mark.parametrize("cut", [0, 5, 40, 500, -1])
def test_bytes_that_are_not_whole_are_refused(cut):
    with pytest.raises(IntegrityError, match="not whole"):
        weights_from_bytes(_network(), weights_to_bytes(_network())[:cut])


def test_a_header_without_our_entry_has_no_metadata():
    from safetensors.torch import save

    tensors, metadata = read_tensors(save({"a": torch.ones(2)}))
    assert metadata == {}
    assert torch.equal(tensors["a"], torch.ones(2))
    assert "__metadata__" not in json.dumps(list(tensors))


def test_a_header_that_is_no_json_is_refused():
    with pytest.raises(IntegrityError):
        read_tensors((3).to_bytes(8, "little") + b"{x}")


def test_weights_of_other_networks_are_refused():
    with pytest.raises(
        IntegrityError, match=r"'0\.0\.weight' is .*\(6, 1, 3, 3\), the network has .*\(4, 1, 3, 3\)"
    ):
        weights_from_bytes(_network(), weights_to_bytes(_network(blocks=(6, 8))))
    with pytest.raises(IntegrityError, match="missing"):
        weights_from_bytes(_network(), weights_to_bytes(_network(blocks=(4, 8, 8))))
    with pytest.raises(IntegrityError, match="float64"):
        weights_from_bytes(_network(), weights_to_bytes(_network().double()))


def test_weights_that_are_not_there_are_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"no weights at 'w\.safetensors'"):
        load_weights(tmp_path / "w.safetensors", _network())


def test_weights_that_are_shared_within_a_network_can_be_stored():
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    tensors, _ = read_tensors(weights_to_bytes(tied))
    assert torch.equal(tensors["0.weight"], tied[0].weight)
    assert torch.equal(tensors["1.weight"], tied[0].weight)
