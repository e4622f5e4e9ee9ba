"""The registry of pre-trained networks: what is known of each, and what is let in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from voxlake.core.digest import digest_bytes
from voxlake.core.errors import IntegrityError, ItemError, NotFoundError
from voxlake.networks.pretrained import PRETRAINED, convert, find_files, known_model, load_network
from voxlake.networks.scaling import scaled
from voxlake.networks.weights import read_tensors, write_tensors


@pytest.mark.parametrize("name", sorted(PRETRAINED))
def test_every_entry_is_whole(name: str) -> None:
    model = PRETRAINED[name]
    assert model.name == name
    assert [label.value for label in model.labels] == list(range(1, model.network.classes))
    assert len({label.name for label in model.labels}) == len(model.labels)
    assert len(model.sha256) == 64
    assert model.licence == "MIT"
    assert "github.com" in model.source
    codes = [label.code for label in model.labels if label.code is not None]
    assert codes
    assert {scheme for _, scheme in codes} <= {"SCT", "DCM"}


def test_entries_differ() -> None:
    assert len({model.model_id for model in PRETRAINED.values()}) == len(PRETRAINED)
    assert len({model.sha256 for model in PRETRAINED.values()}) == len(PRETRAINED)
    assert known_model("brainchop-brain").network.radius == 155
    assert known_model("brainchop-tissue-light").network.radius == 46


def test_codes_are_those_of_the_structures() -> None:
    by_name = {label.name: label.code for label in known_model("brainchop-regions-104").labels}
    assert by_name["Left-Hippocampus"] == by_name["Right-Hippocampus"] == ("5366008", "SCT")
    assert by_name["Left-VentralDC"] == ("110700", "DCM")
    assert by_name["ctx-lh-insula"] == ("36169008", "SCT")
    assert by_name["ctx-lh-cuneus"] is None


def test_a_near_miss_is_named() -> None:
    with pytest.raises(NotFoundError, match="did you mean 'brainchop-tissue'"):
        known_model("brainchop-tisue")


def test_range_and_quantiles() -> None:
    values = np.random.default_rng(0).permutation(np.arange(1000, dtype=np.int16)).reshape(10, 10, 10)
    np.testing.assert_allclose(scaled(values, "range"), values / 999, rtol=1e-6)
    # Rank floor(50) is 50, rank ceil(950) - 1 is 949; what lies beyond goes beyond.
    found = scaled(values, "quantiles")
    np.testing.assert_allclose(found, (values - 50.0) / (949 - 50), rtol=1e-5, atol=1e-6)
    assert found.min() < 0 < 1 < found.max()
    for bad in (np.full((3, 3, 3), 5.0), np.full((3, 3, 3), np.nan)):
        with pytest.raises(ItemError, match=r"finite|one value"):
            scaled(bad, "range")


@pytest.mark.realdata
def test_files_are_known_by_their_content(realdata: Path, tmp_path: Path) -> None:
    folder = realdata / "brainchop_models"
    found = {model.name: (topology, weights) for model, topology, weights in find_files(folder)}
    assert sorted(found) == sorted(PRETRAINED)
    for name, (topology, weights) in found.items():
        model = PRETRAINED[name]
        data = convert(model, topology, weights)
        assert data == convert(model, topology, weights)
        network = load_network(model, data, sha256=digest_bytes(data))
        # Every number of the makers is there, and no other.
        numbers = np.sort(np.frombuffer(weights, "<f4"))
        ours = np.sort(np.concatenate([p.detach().numpy().ravel() for p in network.parameters()]))
        np.testing.assert_array_equal(ours, numbers)
    topology, weights = found["brainchop-tissue-light"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "weights.dat").write_bytes(weights)
    assert list(find_files(tmp_path)) == []
    (tmp_path / "other" / "model.json").write_bytes(topology)
    assert [model.name for model, *_ in find_files(tmp_path)] == ["brainchop-tissue-light"]
    (tmp_path / "other" / "weights.dat").write_bytes(weights[:-1] + b"?")
    assert list(find_files(tmp_path)) == []


@pytest.mark.realdata
def test_names_are_those_of_the_makers(realdata: Path) -> None:
    for model in PRETRAINED.values():
        for file in sorted((realdata / "brainchop_models" / model.folder).glob("colormap*.json")):
            names = [name.rstrip("*") for name in json.loads(file.read_text())["labels"][1:]]
            if len(names) == len(model.labels) > 1:
                assert [label.name for label in model.labels] == names


@pytest.mark.realdata
def test_files_of_another_network_are_refused(realdata: Path) -> None:
    found = {
        model.name: (model, topology, data)
        for model, topology, data in find_files(realdata / "brainchop_models")
    }
    light, topology, weights = found["brainchop-tissue-light"]
    medium, other, _ = found["brainchop-tissue-medium"]
    with pytest.raises(IntegrityError, match="another SHA-256"):
        convert(medium, other, weights)
    with pytest.raises(IntegrityError, match=r"no layers model|another network"):
        convert(light, other, weights)
    other_dilation = topology.replace(b'"dilation_rate": [16, 16, 16]', b'"dilation_rate": [8, 8, 8]')
    with pytest.raises(IntegrityError, match="that of another network"):
        convert(light, other_dilation, weights)
    data = convert(light, topology, weights)
    with pytest.raises(IntegrityError, match="SHA-256"):
        load_network(light, data, sha256="0" * 64)
    foreign = write_tensors(read_tensors(data)[0], {"source_sha256": "0" * 64})
    with pytest.raises(IntegrityError, match="import the model again"):
        load_network(light, foreign, sha256=digest_bytes(foreign))
