"""Networks segment volumes, at once or in tiles; the class is decided before any resampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from voxlake.learning.predict_options import Runtime
from voxlake.learning.segmentation.cases import Case
from voxlake.learning.segmentation.settings import SegmentationSettings
from voxlake.learning.segmentation.validation import mirrored, padded
from voxlake.networks.inference_runtime import Precision, inference, precision_of
from voxlake.networks.runtimes import Exported, accelerated
from voxlake.networks.tiled import Tiling, tiled_labels
from voxlake.processing.components import largest_components

__all__ = ["Segmenter", "segmented"]

_TILE = (96, 96, 96)
# Exported networks hold for one extent each, and memory; volumes of a cohort mostly have few of them.
_EXTENTS = 4

Network = nn.Module | Callable[..., Tensor]


class Segmenter:
    """Networks that segment together, loaded once.

    Parameters
    ----------
    networks : sequence of torch.nn.Module
        Give logits (N, K, ...); their probabilities are averaged, those of mirror images too.
    settings : SegmentationSettings
        When and how volumes are cut into tiles, and which mirror images are looked at.
    dimensions : {2, 3}
        Axes that the networks see.
    precision : {"auto", "float32"}
        Of the arithmetic.
    runtime : {"torch", "auto", "openvino", "onnxruntime"}
        Who computes; see `voxlake.networks.runtimes.accelerated`.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        settings: SegmentationSettings,
        *,
        dimensions: int,
        precision: Precision = "auto",
        runtime: Runtime = "torch",
    ) -> None:
        self._together = _Together(networks, settings.mirror).eval()
        self._settings = settings
        self._dimensions = dimensions
        self._precision: Precision = precision
        self._runtime: Runtime = runtime
        self._exported: dict[tuple[int, ...], Network] = {}

    def __call__(self, case: Case) -> NDArray[np.uint8]:
        """The most probable class of every voxel of a volume, uint8 (slices, rows, columns).

        Small pieces become background where the settings say so.

        Raises
        ------
        UsageError
            A runtime was named, and is not installed or cannot run the networks on such an extent.
        """
        labels = self._labels(case)
        if self._settings.largest is not None:
            for value in np.unique(labels[labels > 0]).tolist():
                inside = labels == value
                labels[inside & ~largest_components(inside, count=self._settings.largest)] = 0
        return labels

    def _labels(self, case: Case) -> NDArray[np.uint8]:
        """The most probable class, as it is."""
        image, extent = case.image(), self._extent(case.shape, case.channels)
        if self._dimensions == 2:
            return np.stack([self._whole(image[:, place], extent) for place in range(len(image[0]))])
        if not self._tiled(case.shape, case.channels):
            return self._whole(image, extent)
        tiling = self._tiling()
        values, inside = padded(image, extent)
        network = self._network((tiling.batch, 1, *tiling.tile))
        found: NDArray[np.uint8] = tiled_labels(network, values[0], tiling, precision=self._precision)[inside]
        return np.ascontiguousarray(found)

    def runtime_for(self, shape: Sequence[int], channels: int) -> Runtime:
        """Who computes volumes of an extent (slices, rows, columns): a runtime, or torch where it cannot."""
        if self._dimensions == 3 and self._tiled(shape, channels):
            tiling = self._tiling()
            network = self._network((tiling.batch, 1, *tiling.tile))
        else:
            network = self._network((1, channels, *self._extent(shape, channels)))
        return network.runtime if isinstance(network, Exported) else "torch"

    def _tiled(self, shape: Sequence[int], channels: int) -> bool:
        return int(np.prod(shape)) > self._settings.whole and channels == 1

    def _tiling(self) -> Tiling:
        first, second, third = self._settings.patch or _TILE
        return Tiling(tile=(first, second, third), overlap=self._settings.overlap)

    def _extent(self, shape: Sequence[int], channels: int) -> list[int]:
        """What a volume, or a slice of it, is padded to."""
        if self._dimensions == 3 and self._tiled(shape, channels):
            return [max(size, wanted) for size, wanted in zip(shape, self._tiling().tile, strict=True)]
        multiple = self._settings.multiple
        return [-(-size // multiple) * multiple for size in shape[3 - self._dimensions :]]

    def _whole(self, image: NDArray[np.float32], extent: Sequence[int]) -> NDArray[np.uint8]:
        values, inside = padded(image, extent)
        layout = torch.channels_last if values.ndim == 3 else torch.channels_last_3d
        bfloat16 = precision_of(self._precision) is torch.bfloat16
        network = self._network((1, *values.shape))
        with inference():
            x = torch.from_numpy(np.ascontiguousarray(values))[None].contiguous(memory_format=layout)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
                output = network(x)
            labels = output[0].float().argmax(dim=0).to(torch.uint8).numpy()
        return np.ascontiguousarray(labels[inside])

    def _network(self, shape: tuple[int, ...]) -> Network:
        if self._runtime == "torch":
            return self._together
        if shape not in self._exported:
            if len(self._exported) == _EXTENTS:
                del self._exported[next(iter(self._exported))]
            self._exported[shape] = accelerated(
                self._together, shape, engine=self._runtime, precision=self._precision
            )
        return self._exported[shape]


def segmented(
    networks: Sequence[nn.Module],
    case: Case,
    settings: SegmentationSettings,
    *,
    dimensions: int,
    precision: Precision = "auto",
) -> NDArray[np.uint8]:
    """The most probable class of every voxel of one volume; see `Segmenter`.

    Parameters
    ----------
    networks, settings, dimensions, precision
        See there.
    case : Case
        The volume; its labels are not looked at.

    Returns
    -------
    numpy.ndarray
        uint8 (slices, rows, columns): 0 for the background, then the classes.
    """
    return Segmenter(networks, settings, dimensions=dimensions, precision=precision)(case)


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
