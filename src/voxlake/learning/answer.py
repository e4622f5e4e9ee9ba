"""What networks answer: one network, or those of all folds together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from voxlake.core.errors import UsageError
from voxlake.learning.inference import predict_outputs
from voxlake.learning.objectives.base import Objective
from voxlake.learning.objectives.reconstruction import ImageReconstruction
from voxlake.learning.predict_options import Axis, Runtime
from voxlake.learning.tables.prepare import Preparation
from voxlake.networks.augmented import symmetries
from voxlake.networks.embedding import embed
from voxlake.networks.onnx_graph import FirstOutput
from voxlake.networks.reconstruction import Reconstruction
from voxlake.networks.runtimes import Exported, accelerated

__all__ = ["Ensemble", "Member", "exported_networks"]

# A network sees so many samples at a time, and no more values than these: what its layers hold is a multiple.
_AT_A_TIME = 64
_VALUES_AT_A_TIME = 2**22
# What runtimes may differ in, as in `voxlake.networks.runtimes`.
_TOLERANCE = 1e-2

Columns = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Member:
    """A network that was learned, with what belongs to it.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode, where it is to be computed.
    objective : Objective
        What its outputs mean.
    preparation : Preparation or None
        How its table becomes numbers.
    mirror : tuple of {"slice", "row", "column"}
        Axes along which it also sees every image mirrored; answers are averaged.
    exported : Exported or None
        What computes in its stead.
    """

    network: nn.Module
    objective: Objective
    preparation: Preparation | None = None
    mirror: tuple[Axis, ...] = ()
    exported: Exported | None = None

    def inputs(self, images: tuple[Tensor, ...], columns: Columns | None) -> tuple[Tensor, ...]:
        """What the network is called with; columns are float32 (N, F), prepared."""
        return images if columns is None else (*images, torch.from_numpy(columns))

    def answers(self, inputs: tuple[Tensor, ...]) -> NDArray[np.float64]:
        """Probabilities float64 (N, K), numbers (N,), or the error of each reconstructed image (N,)."""
        if not self.mirror:
            return self._answers(inputs)
        images, *others = inputs
        views = [self._answers((one.apply(images), *others)) for one in symmetries(self.mirror)]
        return np.asarray(np.mean(views, axis=0))

    def embeddings(self, inputs: tuple[Tensor, ...]) -> NDArray[np.float32]:
        """Vectors that stand for the samples as they are, float32 (N, Z); always computed by torch."""
        device = next(self.network.parameters()).device
        parts = zip(*(torch.split(tensor, _batch_size(inputs)) for tensor in inputs), strict=True)
        with torch.inference_mode():
            found = [
                embed(self.network, *(tensor.to(device) for tensor in part)).float().cpu() for part in parts
            ]
        return np.asarray(torch.cat(found).flatten(1).numpy())

    def _answers(self, inputs: tuple[Tensor, ...]) -> NDArray[np.float64]:
        output = self._outputs(inputs)
        if isinstance(self.objective, ImageReconstruction):
            return self.objective.errors(output, inputs[0])
        return self.objective.answers(output)

    def _outputs(self, inputs: tuple[Tensor, ...]) -> Any:
        size = _batch_size(inputs)
        if self.exported is None:
            return predict_outputs(self.network, inputs, batch_size=size)
        parts = zip(*(torch.split(tensor, size) for tensor in inputs), strict=True)
        values = torch.cat([self.exported(*part).float() for part in parts])
        if isinstance(self.objective, ImageReconstruction):
            return Reconstruction(values, torch.zeros(()), None)
        return values


@dataclass(frozen=True, eq=False)
class Ensemble:
    """The networks of all folds, loaded once.

    Parameters
    ----------
    members : sequence of Member
        One for each fold.
    """

    members: Sequence[Member]

    @property
    def runtime(self) -> Runtime:
        """Who computes."""
        exported = self.members[0].exported
        return "torch" if exported is None else exported.runtime

    def answers(
        self, images: tuple[Tensor, ...], columns: Sequence[Columns] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Mean of the members, and how far they are apart.

        Parameters
        ----------
        images : tuple of torch.Tensor
            Inputs but for the table.
        columns : sequence of numpy.ndarray, optional
            The table as each member takes it, float32 (N, F).

        Returns
        -------
        mean : numpy.ndarray
            As of one member.
        spread : numpy.ndarray or None
            Of the same shape, standard deviation over the members (with n - 1); None of a single one.
        """
        tables = [None] * len(self.members) if columns is None else columns
        said = np.stack(
            [
                member.answers(member.inputs(images, one))
                for member, one in zip(self.members, tables, strict=True)
            ]
        )
        return said.mean(axis=0), said.std(axis=0, ddof=1) if len(said) > 1 else None


def exported_networks(
    networks: Sequence[nn.Module], shape: Sequence[int], runtime: Runtime
) -> list[Exported] | None:
    """Networks of one input as a runtime runs them, in float32, whatever the size of the batch.

    Parameters
    ----------
    networks : sequence of torch.nn.Module
        In evaluation mode.
    shape : sequence of int
        Extent of one sample.
    runtime : {"torch", "auto", "openvino", "onnxruntime"}
        See `voxlake.networks.runtimes.accelerated`.

    Returns
    -------
    list of Exported or None
        None where torch computes; all of the networks or none of them.

    Raises
    ------
    UsageError
        A runtime was named, and is not installed, cannot run a network, or says something else.
    """
    found = []
    for network in networks:
        first = FirstOutput(network).eval()
        run: Callable[..., Tensor] = accelerated(first, (2, *shape), engine=runtime, precision="float32")
        if isinstance(run, Exported) and not _same_in_a_batch(first, run, shape):
            if runtime != "auto":
                raise UsageError(
                    f"{run.runtime} gives other outputs than torch for this network; take runtime = 'torch'"
                )
            return None
        if not isinstance(run, Exported):
            return None
        found.append(run)
    return found


def _same_in_a_batch(network: nn.Module, exported: Exported, shape: Sequence[int]) -> bool:
    """Whether three samples together get what torch says; `accelerated` looks at one."""
    samples = torch.randn((3, *shape), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = network(samples).float()
    try:
        found = exported(samples)
    except UsageError:
        return False
    allowed = _TOLERANCE * max(1.0, float(expected.abs().max()))
    return found.shape == expected.shape and float((found - expected).abs().max()) <= allowed


def _batch_size(inputs: tuple[Tensor, ...]) -> int:
    values = max(math.prod(tensor.shape[1:]) for tensor in inputs)
    return max(1, min(_AT_A_TIME, _VALUES_AT_A_TIME // max(values, 1)))
