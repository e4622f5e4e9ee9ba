"""Networks segment volumes, at once or in tiles; the class is decided before any resampling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from voxlake.learning.segmentation.cases import Case
from voxlake.learning.segmentation.settings import SegmentationSettings
from voxlake.learning.segmentation.validation import mirrored, padded
from voxlake.networks.inference_runtime import Precision, inference, precision_of
from voxlake.networks.tiled import Tiling, tiled_labels

__all__ = ["segmented"]

_TILE = (96, 96, 96)


def segmented(
    networks: Sequence[nn.Module],
    case: Case,
    settings: SegmentationSettings,
    *,
    dimensions: int,
    precision: Precision = "auto",
) -> NDArray[np.uint8]:
    """The most probable class of every voxel of a volume.

    Parameters
    ----------
    networks : sequence of torch.nn.Module
        Give logits (N, K, ...); their probabilities are averaged, those of mirror images too.
    case : Case
        The volume; its labels are not looked at.
    settings : SegmentationSettings
        When and how volumes are cut into tiles.
    dimensions : {2, 3}
        Axes that the networks see.
    precision : {"auto", "float32"}
        Of the arithmetic.

    Returns
    -------
    numpy.ndarray
        uint8 (slices, rows, columns): 0 for the background, then the classes.
    """
    together = _Together(networks, settings.mirror).eval()
    image = case.image()
    if dimensions == 2:
        return np.stack(
            [_whole(together, image[:, place], settings, precision) for place in range(len(image[0]))]
        )
    if image[0].size > settings.whole and case.channels == 1:
        tile = tuple(settings.patch or _TILE)
        tiling = Tiling(tile=(tile[0], tile[1], tile[2]), overlap=settings.overlap)
        extent = [max(size, wanted) for size, wanted in zip(case.shape, tile, strict=True)]
        values, inside = padded(image, extent)
        found: NDArray[np.uint8] = tiled_labels(together, values[0], tiling, precision=precision)[inside]
        return np.ascontiguousarray(found)
    return _whole(together, image, settings, precision)


class _Together(nn.Module):
    """Mean probability of several networks, and of mirror images."""

    def __init__(self, networks: Sequence[nn.Module], mirror: Sequence[str]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.mirror = tuple(mirror)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, ...) to (N, K, ...); logits where there is one network and no mirror."""
        if len(self.networks) == 1 and not self.mirror:
            output: Tensor = self.networks[0](images)
            return output
        total = torch.zeros(())
        for network in self.networks:
            total = total + mirrored(network, images, self.mirror)
        return total / len(self.networks)


def _whole(
    network: nn.Module, image: NDArray[np.float32], settings: SegmentationSettings, precision: Precision
) -> NDArray[np.uint8]:
    extent = [-(-size // settings.multiple) * settings.multiple for size in image.shape[1:]]
    values, inside = padded(image, extent)
    layout = torch.channels_last if values.ndim == 3 else torch.channels_last_3d
    with inference():
        x = torch.from_numpy(np.ascontiguousarray(values))[None].contiguous(memory_format=layout)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision_of(precision) is torch.bfloat16):
            output = network(x)
        labels = output[0].float().argmax(dim=0).to(torch.uint8).numpy()
    return np.ascontiguousarray(labels[inside])
