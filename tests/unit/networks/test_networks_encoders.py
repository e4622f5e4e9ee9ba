"""Pre-trained encoders: what is known of them, what is let in, and what they make of an image."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from voxlake.core.digest import digest_bytes
from voxlake.core.errors import IntegrityError, NotFoundError, UsageError
from voxlake.networks.encoder_module import Encoder
from voxlake.networks.encoder_weights import convert_encoder, load_encoder
from voxlake.networks.pretrained_encoders import ENCODERS, find_encoders, known_encoder, package_folder
from voxlake.networks.weights import read_tensors, write_tensors

LITE = known_encoder("efficientnet-lite0")


@pytest.fixture(scope="module")
def published() -> bytes:
    return next(data for _, data in find_encoders(package_folder(LITE)))


@pytest.fixture(scope="module")
def encoder(published: bytes) -> Encoder:
    data = convert_encoder(LITE, published)
    return load_encoder(LITE, data, sha256=digest_bytes(data))


def test_entries_are_whole_and_differ() -> None:
    assert [one.name for one in ENCODERS.values()] == list(ENCODERS)
    for field in ("sha256", "size", "package", "model_id"):
        assert len({getattr(one, field) for one in ENCODERS.values()}) == len(ENCODERS)
    assert {one.licence for one in ENCODERS.values()} == {"Apache-2.0"}
    # 784 channels in seven stages.
    assert {one.coordinates for one in ENCODERS.values()} == {2352}
    with pytest.raises(NotFoundError, match="did you mean 'efficientnet-lite0'"):
        known_encoder("efficientnet-lite00")


def test_a_package_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"pip install 'voxlake\[pretrained\]'"):
        package_folder(replace(LITE, package="no_such_package_of_weights"))


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_weights_are_known_by_their_content(name: str, tmp_path: Path) -> None:
    known = known_encoder(name)
    found = dict(find_encoders(package_folder(known)))
    assert list(found) == [known]
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "called otherwise").write_bytes(found[known])
    (tmp_path / "of the same size").write_bytes(found[known][:-1] + b"?")
    assert dict(find_encoders(tmp_path)) == found
    data = convert_encoder(known, found[known])
    assert data == convert_encoder(known, found[known])
    tensors, metadata = read_tensors(data)
    assert metadata == {"model": name, "source_sha256": known.sha256}
    theirs = torch.load(io.BytesIO(found[known]), weights_only=True)
    assert len(theirs) == len(tensors)
    assert sum(one.numel() for one in theirs.values()) == sum(one.numel() for one in tensors.values())


def test_files_of_another_network_are_refused(published: bytes) -> None:
    with pytest.raises(IntegrityError, match="another SHA-256"):
        convert_encoder(LITE, published[:-1] + b"?")
    data = convert_encoder(LITE, published)
    with pytest.raises(IntegrityError, match="SHA-256"):
        load_encoder(LITE, data, sha256="0" * 64)
    foreign = write_tensors(read_tensors(data)[0], {"source_sha256": "0" * 64})
    with pytest.raises(IntegrityError, match="import the model again"):
        load_encoder(LITE, foreign, sha256=digest_bytes(foreign))


def test_a_vector_is_what_the_stages_see(encoder: Encoder) -> None:
    picture = np.random.default_rng(0).random((1, 65, 65), dtype=np.float32)
    seen: list[torch.Tensor] = []
    stages = list(encoder.network.get_submodule("_blocks").children())
    handles = [one.register_forward_hook(lambda *given: seen.append(given[2])) for one in stages]
    (vector,) = encoder.vectors([picture], extent=65)
    for handle in handles:
        handle.remove()
    assert vector.shape == (LITE.coordinates,)
    expected = np.concatenate(
        [
            part
            for one in (each.numpy().astype(np.float64)[0] for each in seen)
            for part in (one.mean((1, 2)), one.max((1, 2)), one.std((1, 2)))
        ]
    )
    np.testing.assert_allclose(vector, expected, rtol=1e-4, atol=1e-5)


def test_volumes_do_not_depend_on_their_company(encoder: Encoder) -> None:
    generator = np.random.default_rng(1)
    volumes = [generator.random((slices, 40, 50), dtype=np.float32) for slices in (1, 7, 20, 3)]
    together = encoder.vectors(volumes, extent=33)
    assert together.shape == (4, LITE.coordinates)
    for volume, vector in zip(volumes, together, strict=True):
        alone = encoder.vectors([volume], extent=33)[0]
        np.testing.assert_allclose(vector, alone, rtol=1e-4, atol=1e-4)
        slices = np.concatenate([encoder.vectors([one[None]], extent=33) for one in volume])
        np.testing.assert_allclose(vector, slices.mean(0), rtol=1e-4, atol=1e-4)
    # Not all alike, or the test would say nothing.
    assert np.abs(together[0] - together[1]).max() > 0.1


def test_grey_is_a_colour(encoder: Encoder) -> None:
    grey = np.random.default_rng(2).random((2, 33, 33), dtype=np.float32)
    colours = np.stack([grey, grey, grey], axis=-1)
    np.testing.assert_allclose(
        encoder.vectors([grey], extent=33), encoder.vectors([colours], extent=33), rtol=1e-5, atol=1e-5
    )
    colours[..., 0] = 0
    other = encoder.vectors([colours], extent=33)
    assert np.abs(other - encoder.vectors([grey], extent=33)).max() > 0.1
