"""Sliding windows: a network over a volume of any size, in bounded memory.

Tiles overlap and are blended with weights. Rows of tiles go along the slice axis; as soon as no tile to come
reaches a slice, it is given out and its place in the buffer is used again, so that the outputs of the whole
volume are never held. What a tile counts for is a product over the axes, known beforehand: the shares of all
tiles add up to 1, so that sums need neither a second buffer of weights nor a division.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from voxlake.core.errors import UsageError
from voxlake.core.volume import ArrayLike3D
from voxlake.networks.inference_runtime import Precision, inference, precision_of
from voxlake.networks.runtimes import Engine, accelerated
from voxlake.networks.tiling import Part, Tiling

__all__ = ["Tiling", "iter_tiled", "tiled_labels"]

_LAST = torch.channels_last_3d
Box = tuple[Part, Part, Part]


def iter_tiled(
    network: nn.Module | Callable[[Tensor], Tensor],
    values: ArrayLike3D,
    tiling: Tiling,
    *,
    precision: Precision = "auto",
    engine: Engine = "torch",
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Run a network over a volume and give out slabs as they become complete.

    Parameters
    ----------
    network : torch.nn.Module or callable
        Maps (N, C, D, H, W) to (N, K, D, H, W) for any extent up to that of a tile, or, where the tiling is
        one of slices, (N, C, H, W) to (N, K, H, W); in evaluation mode, on any device.
    values : array
        (slices, rows, columns) or (C, slices, rows, columns), scaled as the network expects. It may be lazy:
        only tiles are read.
    tiling : Tiling
        How to cut.
    precision : {"auto", "float32"}
        ``"auto"`` computes in bfloat16 where the processor has it.
    engine : {"torch", "auto", "openvino", "onnxruntime"}
        What computes. ``"auto"`` is OpenVINO where it is installed and the network is a module on the CPU
        that it can run, else torch; results of the engines differ in the last digits.

    Yields
    ------
    (int, ndarray of float32)
        First slice, and the blended outputs (K, slices of the slab, rows, columns); slabs come in order and
        without gaps.

    Raises
    ------
    UsageError
        The network gives outputs of another extent, or cannot be run by the engine.
    """
    for start, slab in _slabs(_Windows(network, values, tiling, precision, engine)):
        yield start, slab.clone().numpy()


def tiled_labels(
    network: nn.Module | Callable[[Tensor], Tensor],
    values: ArrayLike3D,
    tiling: Tiling,
    *,
    precision: Precision = "auto",
    engine: Engine = "torch",
) -> NDArray[np.uint8]:
    """The class with the largest output, for every voxel; see `iter_tiled`. At most 256 classes.

    Returns
    -------
    ndarray of uint8
        (slices, rows, columns); where classes are level, the first of them.
    """
    labels = np.empty(values.shape[-3:], dtype=np.uint8)
    for start, slab in _slabs(_Windows(network, values, tiling, precision, engine)):
        for place in range(slab.shape[1]):
            labels[start + place] = _largest(slab[:, place])
    return labels


def _largest(outputs: Tensor) -> NDArray[np.uint8]:
    """Index of the first largest output, (K, H, W) to (H, W); an argmax over the first axis is far slower."""
    if outputs.shape[0] == 1:
        return np.zeros(outputs.shape[1:], dtype=np.uint8)
    # Threads of torch would wait for each other longer than one slice takes.
    each = outputs.numpy()
    found: NDArray[np.uint8] = (each[1] > each[0]).astype(np.uint8)
    largest = np.maximum(each[0], each[1])
    for number in range(2, len(each)):
        np.copyto(found, number, where=each[number] > largest)
        np.maximum(largest, each[number], out=largest)
    return found


def _slabs(windows: _Windows) -> Iterator[tuple[int, Tensor]]:
    """First slice and outputs (K, slices, rows, columns), which hold until the next slab is asked for."""
    depths, rows, columns = windows.parts
    shape = tuple(windows.values.shape[-3:])
    buffer: _Buffer | None = None
    for number, depth in enumerate(depths):
        boxes = [(depth, row, column) for row, column in product(rows, columns)]
        at_once = 1 if windows.tiling.flat else windows.tiling.batch
        for first in range(0, len(boxes), at_once):
            group = boxes[first : first + at_once]
            for box, output in zip(group, windows.outputs(group), strict=True):
                if buffer is None:
                    longest = max(part.place.stop - part.place.start for part in depths)
                    buffer = _Buffer(output.shape[0], (longest, *shape[1:]))
                buffer.add(output, box)
        if buffer is not None:
            end = shape[0] if number + 1 == len(depths) else depths[number + 1].place.start
            yield buffer.begin, buffer.done(end)
            buffer.forget(end)


class _Windows:
    """A network, and the volume of which it is given tiles."""

    def __init__(
        self,
        network: nn.Module | Callable[[Tensor], Tensor],
        values: ArrayLike3D,
        tiling: Tiling,
        precision: Precision,
        engine: Engine,
    ) -> None:
        if len(values.shape) not in (3, 4):
            raise UsageError(
                f"tiles are cut of (slices, rows, columns) or with channels before, got {values.shape}"
            )
        self.values = values
        self.tiling = tiling
        self.parts = tuple(tiling.parts(axis, size) for axis, size in enumerate(values.shape[-3:]))
        self.channels = 1 if len(values.shape) == 3 else int(values.shape[0])
        self.device, self.bfloat16 = _device(network), precision_of(precision) is torch.bfloat16
        self._of_nothing: dict[tuple[int, ...], Tensor] = {}
        self.network = network
        if engine != "torch":
            self.network = accelerated(network, self._shape(), engine=engine, precision=precision)

    def outputs(self, boxes: Sequence[Box]) -> list[Tensor]:
        """Outputs (K, D, H, W) of some tiles of equal extent, on the CPU."""
        tiles = [self._read(box) for box in boxes]
        empty = self.tiling.empty
        if empty is None:
            return list(self._run(np.stack(tiles)))
        wanted = [tile for tile in tiles if tile.max() > empty]
        computed = iter(self._run(np.stack(wanted)) if wanted else ())
        return [next(computed) if tile.max() > empty else self._nothing(tile.shape, empty) for tile in tiles]

    def _read(self, box: Box) -> NDArray[np.float32]:
        """A tile, (C, D, H, W), padded where it reaches beyond the volume."""
        sizes = self.values.shape[-3:]
        kept = [
            (max(0, part.start), min(size, part.start + part.length))
            for part, size in zip(box, sizes, strict=True)
        ]
        index: tuple[Any, ...] = tuple(slice(*ends) for ends in kept)
        tile = np.asarray(self.values[index if len(self.values.shape) == 3 else (slice(None), *index)])
        tile = tile.reshape(self.channels, *tile.shape[-3:]).astype(np.float32, copy=False)
        outside = [
            (low - part.start, part.start + part.length - high)
            for part, (low, high) in zip(box, kept, strict=True)
        ]
        if self.tiling.fill is not None and any(map(any, outside)):
            tile = np.pad(tile, [(0, 0), *outside], constant_values=self.tiling.fill)
        return tile

    def _nothing(self, shape: tuple[int, ...], empty: float) -> Tensor:
        """What the network says of a tile that holds one value and nothing else; computed once."""
        if shape not in self._of_nothing:
            self._of_nothing[shape] = self._run(np.full((1, *shape), empty, dtype=np.float32))[0]
        return self._of_nothing[shape]

    def _run(self, tiles: NDArray[np.float32]) -> Tensor:
        """(N, C, D, H, W) to (N, K, D, H, W); of a network of images D is its batch, and N is 1."""
        with inference():
            x = torch.from_numpy(tiles).to(self.device)
            if self.tiling.flat:
                x = x[0].transpose(0, 1).contiguous(memory_format=torch.channels_last)
            else:
                x = x.contiguous(memory_format=_LAST)
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16):
                output = self.network(x)
            if not isinstance(output, Tensor) or output.shape[2:] != x.shape[2:] or output.ndim != x.ndim:
                got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise UsageError(
                    f"tiles need a network that gives maps of the extent {tuple(x.shape[2:])}, got {got}"
                )
            if self.tiling.flat:
                output = output.transpose(0, 1)[None]
            return output.to("cpu", torch.float32)

    def _shape(self) -> tuple[int, ...]:
        """What the network gets, batch first."""
        depth, row, column = (parts[0].length for parts in self.parts)
        if self.tiling.flat:
            return (depth, self.channels, row, column)
        return (self.tiling.batch, self.channels, depth, row, column)


class _Buffer:
    """Weighted outputs of those slices that tiles still add to."""

    def __init__(self, classes: int, shape: tuple[int, ...]) -> None:
        self.begin = 0
        self._sums = torch.zeros((classes, *shape), dtype=torch.float32)

    def add(self, output: Tensor, box: Box) -> None:
        """Add the output of a tile, (K, D, H, W)."""
        depth, row, column = (part.share for part in box)
        plane = torch.from_numpy(row[:, None] * column)
        slices, *flat = (part.place for part in box)
        sums = self._sums[:, slices.start - self.begin : slices.stop - self.begin, *flat]
        inside = output[:, *(part.inside for part in box)]
        # One slice at a time, so that it stays in the cache; no product is ever stored.
        for number, share in enumerate(depth.tolist()):
            sums[:, number].addcmul_(inside[:, number], plane, value=share)

    def done(self, end: int) -> Tensor:
        """The slices up to `end`, which are complete; a view that holds until `forget`."""
        return self._sums[:, : end - self.begin]

    def forget(self, end: int) -> None:
        """Make room for the slices from `end` on."""
        count = end - self.begin
        kept = self._sums.shape[1] - count
        for sums in self._sums:
            sums[:kept] = sums[count:].clone()
            sums[kept:] = 0
        self.begin = end


def _device(network: object) -> torch.device:
    parameter = next(network.parameters(), None) if isinstance(network, nn.Module) else None
    return torch.device("cpu") if parameter is None else parameter.device
