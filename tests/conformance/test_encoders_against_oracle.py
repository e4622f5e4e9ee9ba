"""Pre-trained encoders against another implementation of the same networks, with the files as published."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet

from voxlake.networks.encoder_weights import build_published, convert_encoder
from voxlake.networks.pretrained_encoders import ENCODERS, find_encoders, known_encoder, package_folder
from voxlake.networks.weights import read_tensors


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_the_network_answers_as_it_was_published(name: str) -> None:
    """129 is one more than a power of two: no stage has an even extent, of which one side is padded more."""
    known = known_encoder(name)
    file = next(data for _, data in find_encoders(package_folder(known)))
    theirs = EfficientNet.from_name(name, image_size=129).eval()
    theirs.load_state_dict(torch.load(io.BytesIO(file), weights_only=True))
    ours = build_published(known).eval()
    ours.load_state_dict(read_tensors(convert_encoder(known, file))[0])
    pictures = torch.from_numpy(np.random.default_rng(3).random((2, 3, 129, 129), dtype=np.float32) * 2 - 1)
    with torch.inference_mode():
        expected, got = theirs(pictures), ours(pictures)
    assert expected.shape == (2, known.classes)
    assert float(expected.abs().max()) > 1
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
