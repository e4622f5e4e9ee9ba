"""A committee: each image is learned by one member, and all members answer."""

from __future__ import annotations

import numpy as np
import torch

from voxlake.networks.committee import CommitteeSettings, build_committee
from voxlake.networks.embedding import embed
from voxlake.networks.grad_cam import grad_cam

SETTINGS = CommitteeSettings(members=3, member={"name": "cnn", "blocks": [4], "normalisation": "none"})


def committee() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_committee(SETTINGS, in_channels=1, outputs=2, shape=(8, 8))


def test_answers_are_the_mean_of_members_that_differ() -> None:
    network, images = committee().eval(), torch.randn(5, 1, 8, 8)
    with torch.no_grad():
        each = [member(images) for member in network.members]
        torch.testing.assert_close(network(images), torch.stack(each).mean(dim=0))
        vectors = network.encode(images)
        torch.testing.assert_close(vectors, torch.cat([embed(one, images) for one in network.members], dim=1))
    assert not torch.allclose(each[0], each[1])


def test_each_image_of_a_batch_is_learned_by_one_member() -> None:
    network, images = committee().train(), torch.randn(7, 1, 8, 8)
    outputs = network(images)
    for number, (low, high) in enumerate([(0, 3), (3, 5), (5, 7)]):
        torch.testing.assert_close(outputs[low:high], network.members[number](images[low:high]))
    outputs[:3].sum().backward()
    first, *others = network.members
    assert all(each.grad is not None for each in first.parameters())
    gradients = [each.grad for member in others for each in member.parameters()]
    assert all(gradient is None or not gradient.any() for gradient in gradients)


def test_few_images_are_seen_by_all() -> None:
    network, images = committee().train(), torch.randn(5, 1, 8, 8)
    torch.testing.assert_close(network(images), network.eval()(images))


def test_grad_cam_looks_at_every_member_for_the_class_of_the_committee() -> None:
    network, images = committee(), torch.randn(6, 1, 8, 8)
    with torch.no_grad():
        said = network.eval()(images).argmax(dim=1).tolist()
        each = [member(images).argmax(dim=1).tolist() for member in network.members]
    assert any(one != said for one in each)
    maps = [grad_cam(member, images, said) for member in network.members]
    np.testing.assert_allclose(grad_cam(network, images), np.mean(maps, axis=0), rtol=1e-4, atol=1e-7)
    # A layer that is named is one member's, and counts for its share of the answer.
    named = grad_cam(network, images, said, layer="members.0.0.0")
    np.testing.assert_allclose(named, maps[0] / 3, rtol=1e-4, atol=1e-7)
