"""Segmentation: the objective, a network that learns, and whole volumes through it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from voxlake.core.errors import UsageError
from voxlake.learning.loop import fit
from voxlake.learning.objectives.segmentation import SegmentationObjective, dice_of_labels
from voxlake.learning.segmentation.cases import Case, Cases
from voxlake.learning.segmentation.patches import PatchSource
from voxlake.learning.segmentation.segmenter import segmented
from voxlake.learning.segmentation.settings import IGNORE, PatchAugmentation, SegmentationSettings
from voxlake.learning.segmentation.validation import Validation, mirrored, padded
from voxlake.learning.settings import TrainingSettings

CLASSES = ("ball", "shell")


class _Small(nn.Module):
    """Two convolutions at two resolutions; gives both in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(1, 8, 3, padding=1)
        self.second = nn.Conv3d(8, 8, 3, padding=1, stride=2)
        self.coarse = nn.Conv3d(8, 3, 1)
        self.fine = nn.Conv3d(16, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        near = torch.relu(self.first(x))
        far = torch.relu(self.second(near))
        up = functional.interpolate(far, scale_factor=2.0)
        fine = self.fine(torch.cat([near, up], dim=1))
        return [fine, self.coarse(far)] if self.training else fine


def _phantom(seed: int, shape: tuple[int, int, int] = (15, 16, 13)) -> Case:
    """A bright ball in a grey shell, in noise."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(6, 9, 3)
    places = np.stack(np.meshgrid(*[np.arange(size) for size in shape], indexing="ij"), axis=-1)
    radius = np.linalg.norm(places - centre, axis=-1)
    labels = np.where(radius < 3, 1, np.where(radius < 5, 2, 0)).astype(np.uint8)
    values = np.choose(labels, [0.0, 3.0, 1.5]) + rng.normal(0, 0.3, shape)
    return Case(f"c{seed}", f"p{seed}", values.astype(np.float32), labels, (1.0, 1.0, 1.0), f"v{seed}")


def _phantoms(count: int, start: int = 0) -> Cases:
    return Cases(tuple(_phantom(start + number) for number in range(count)), CLASSES, 3)


def _logits(labels: Tensor, classes: int = 3, scale: float = 50.0) -> Tensor:
    return torch.moveaxis(functional.one_hot(labels.long(), classes), -1, 1).float() * scale


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_a_lot():
    labels = torch.from_numpy(np.stack([_phantom(seed).labels for seed in range(2)]))
    objective = SegmentationObjective(CLASSES)
    assert float(objective.loss(_logits(labels), labels)) < 1e-4
    wrong = torch.zeros_like(labels)
    assert float(objective.loss(_logits(wrong), labels)) > 1
    assert objective.figures(_logits(labels), labels) == {
        "loss": pytest.approx(0, abs=1e-4),
        "dice": 1.0,
        "dice_ball": 1.0,
        "dice_shell": 1.0,
    }


def test_the_loss_is_that_of_its_definition():
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(3, 3, 4, 5, generator=generator)
    labels = torch.randint(0, 3, (3, 4, 5), generator=generator).to(torch.uint8)
    shares = output.softmax(1)
    for kind, axes in (("batch", (0, 2, 3)), ("sample", (2, 3))):
        shown = functional.one_hot(labels.long(), 3).movedim(-1, 1).float()
        both = (shares * shown).sum(axes)
        dice = (2 * both / (shares.sum(axes) + shown.sum(axes)))[..., 1:].mean()
        expected = 1 - dice + 0.5 * functional.cross_entropy(output, labels.long())
        found = SegmentationObjective(CLASSES, dice=kind, cross_entropy=0.5).loss(output, labels)
        assert float(found) == pytest.approx(float(expected), abs=1e-4)


def test_ignored_voxels_count_nowhere():
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(1, 3, 6, 6, generator=generator)
    labels = torch.randint(0, 3, (1, 6, 6), generator=generator).to(torch.uint8)
    objective = SegmentationObjective(CLASSES)
    small = objective.loss(output[:, :, :3], labels[:, :3])
    labels[:, 3:] = IGNORE
    assert float(objective.loss(output, labels)) == pytest.approx(float(small), abs=1e-6)
    assert (
        objective.figures(output, labels)["dice"]
        == objective.figures(output[:, :, :3], labels[:, :3])["dice"]
    )
    nothing = torch.full_like(labels, IGNORE)
    assert torch.isfinite(objective.loss(output.requires_grad_(), nothing))


def test_deep_supervision_weighs_every_depth():
    generator = torch.Generator().manual_seed(0)
    fine = torch.randn(2, 3, 8, 8, generator=generator)
    coarse = torch.randn(2, 3, 4, 4, generator=generator)
    labels = torch.randint(0, 3, (2, 8, 8), generator=generator).to(torch.uint8)
    objective = SegmentationObjective(CLASSES, deep_weights=(1.0, 0.5))
    alone = [objective.loss(fine, labels), objective.loss(coarse, labels[:, ::2, ::2])]
    both = objective.loss([fine, coarse], labels)
    assert float(both) == pytest.approx(float((alone[0] + 0.5 * alone[1]) / 1.5), abs=1e-6)


def test_figures_leave_out_what_is_not_defined():
    labels = torch.zeros(2, 4, 4, dtype=torch.uint8)
    labels[0, 0] = 1
    objective = SegmentationObjective(CLASSES)
    figures = objective.figures(_logits(labels), labels)
    assert figures["dice"] == figures["dice_ball"] == 1
    assert np.isnan(figures["dice_shell"])
    assert dice_of_labels(labels[0], labels[0], 2, IGNORE)[0] == 1
    assert objective.larger_is_better("dice_ball")
    assert not objective.larger_is_better("loss")
    with pytest.raises(UsageError, match="did you mean 'dice'"):
        objective.larger_is_better("dise")


def test_a_network_learns_patches_and_segments_whole_volumes(tmp_path):
    train, validation = _phantoms(4), _phantoms(2, 10)
    settings = SegmentationSettings(
        patch=(8, 8, 8),
        multiple=2,
        per_volume=16,
        foreground=0.5,
        augmentation=PatchAugmentation(flip=("row",)),
    )
    training = TrainingSettings(
        epochs=6, batch_size=8, learning_rate=0.02, threads=1, monitor="dice", precision="float32"
    )
    objective = SegmentationObjective(CLASSES)
    validate = Validation(validation, objective, settings, "float32")

    def trained() -> tuple[nn.Module, float]:
        torch.manual_seed(0)
        network = _Small()
        result = fit(
            network,
            PatchSource(train, settings, batch_size=8, seed=1),
            objective,
            training,
            validate=validate,
            checkpoint_folder=tmp_path,
        )
        return network, result.history[result.best_epoch - 1].figures["dice"]

    network, dice = trained()
    assert dice > 0.85
    case = validation.items[0]
    labels = segmented([network], case, settings, dimensions=3, precision="float32")
    assert labels.shape == case.shape
    assert dice_of_labels(torch.from_numpy(labels), torch.from_numpy(case.labels), 2, IGNORE)[0] > 0.85
    # A training that is done is taken up where it ended.
    again, same = trained()
    assert same == dice
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


def test_tiles_ensembles_and_mirrors_segment_like_the_whole():
    torch.manual_seed(0)
    network = _Small().eval()
    case = _phantom(3, (12, 12, 12))
    whole = segmented([network], case, SegmentationSettings(multiple=2), dimensions=3)
    tiled = segmented(
        [network], case, SegmentationSettings(multiple=2, whole=100, patch=(10, 10, 10)), dimensions=3
    )
    assert (whole == tiled).mean() > 0.9
    twice = segmented([network, network], case, SegmentationSettings(multiple=2), dimensions=3)
    assert np.array_equal(whole, twice)
    image = torch.from_numpy(case.image())[None]
    with torch.inference_mode():
        both = mirrored(network, image, ("row",))
        plain, flipped = network(image).softmax(1), network(image.flip(3)).softmax(1).flip(3)
    assert torch.allclose(both, (plain + flipped) / 2, atol=1e-6)


def test_padding_repeats_edges_and_says_where_the_image_lies():
    image = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    wide, inside = padded(image, (4, 6))
    assert wide.shape == (1, 4, 6)
    assert np.array_equal(wide[0][inside], image[0])
    assert wide[0, 0, 0] == 0
    assert wide[0, -1, -1] == 5
