"""Images as vectors: what the stages of a trained network see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Encoder"]

# The photographs were seen as (value - 127) / 128 of 0 to 255.
_MIDDLE, _HALF = 127 / 255, 128 / 255
# Slices that are computed together: what the first stage holds of them is about 300 MB at 257 x 257.
_TOGETHER = 16


class Encoder(nn.Module):
    """A trained network whose answers are left out.

    Photographs have taught its last layers what dogs look like, and its first ones edges and textures, which
    ultrasound has, too. So all stages speak: of each channel at the end of each stage its mean, its largest
    value and its standard deviation over the image.

    Parameters
    ----------
    network : torch.nn.Module
        EfficientNet with its weights; see `voxlake.networks.encoder_weights`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """float32 (N, 3, H, W), values about -1 to 1, to (N, Z)."""
        part = self.network.get_submodule
        x = part("_swish")(part("_bn0")(part("_conv_stem")(x)))
        found: list[Tensor] = []
        for stage in part("_blocks").children():
            x = stage(x)
            seen = x.flatten(2)
            found += [seen.mean(2), seen.amax(2), seen.std(2, correction=0)]
        return torch.cat(found, dim=1)

    def vectors(self, volumes: Sequence[NDArray[np.float32]], *, extent: int) -> NDArray[np.float32]:
        """A vector for each volume: the mean over its slices.

        Parameters
        ----------
        volumes : sequence of ndarray
            float32 (slice, row, column), or with 3 channels at the end; 0 is black and 1 white.
        extent : int
            Rows and columns that each slice is brought to, whatever its shape.

        Returns
        -------
        numpy.ndarray
            float32 (volume, coordinate).
        """
        device = next(self.parameters()).device
        counts = [len(volume) for volume in volumes]
        found: list[Tensor] = []
        waiting: list[Tensor] = []
        with torch.inference_mode():
            for volume in volumes:
                for some in torch.split(_as_pictures(volume), _TOGETHER):
                    waiting.append(_brought_to(some, extent))
                    if sum(map(len, waiting)) >= _TOGETHER:
                        found.append(self._seen(waiting, device))
                        waiting = []
            if waiting:
                found.append(self._seen(waiting, device))
            slices = torch.split(torch.cat(found), counts)
            return np.asarray(torch.stack([one.mean(0) for one in slices]).numpy())

    def _seen(self, pictures: Sequence[Tensor], device: torch.device) -> Tensor:
        together = ((torch.cat(list(pictures)) - _MIDDLE) / _HALF).to(
            device, memory_format=torch.channels_last
        )
        seen: Tensor = self(together)
        return seen.float().cpu()


def _as_pictures(volume: NDArray[np.float32]) -> Tensor:
    """(slice, row, column[, 3]) as (slice, 1 or 3, row, column)."""
    values = torch.from_numpy(np.ascontiguousarray(volume))
    return values[:, None] if values.ndim == 3 else values.movedim(-1, 1)


def _brought_to(pictures: Tensor, extent: int) -> Tensor:
    """(N, 1 or 3, H, W) as (N, 3, extent, extent)."""
    size = (extent, extent)
    if tuple(pictures.shape[2:]) != size:
        pictures = functional.interpolate(
            pictures, size=size, mode="bilinear", align_corners=False, antialias=True
        )
    return pictures.expand(-1, 3, -1, -1)
