"""Recurrent networks over sequences of vectors: time points of a patient, features of slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from voxlake.core.errors import SettingsError
from voxlake.core.settings import Settings

if TYPE_CHECKING:
    from torch import nn

__all__ = ["RecurrentSettings", "build_recurrent"]


class RecurrentSettings(Settings):
    """Settings of what goes along a sequence.

    Parameters
    ----------
    cell : {"gru", "lstm", "none"}
        Gated recurrent units (Cho et al., 2014, doi:10.3115/v1/D14-1179), long short-term memory
        (Hochreiter and Schmidhuber, 1997, doi:10.1162/neco.1997.9.8.1735), or dense layers with ReLU that
        see one step each: what recurrence has to be better than.
    hidden : int
        Values of the state, in each direction.
    layers : int
        Layers on top of each other.
    bidirectional : bool
        Also go from the last step to the first, and put both states side by side.
    dropout : float
        Probability of a zero before each layer but the first, and before the outputs.
    pooling : {"last", "mean", "max", "attention"}
        How the steps of a sequence become one vector: the state after the last step (of the direction that
        goes back: after the first), mean, largest value, or a mean with learned weights (Ilse et al., 2018,
        arXiv:1802.04712). Not used with ``steps = "each"``.
    steps : {"one", "each"}
        One answer for the sequence, or one for each of its steps.
    """

    cell: Literal["gru", "lstm", "none"] = "gru"
    hidden: PositiveInt = 64
    layers: PositiveInt = 1
    bidirectional: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    pooling: Literal["last", "mean", "max", "attention"] = "last"
    steps: Literal["one", "each"] = "one"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.cell == "none" and self.bidirectional:
            raise ValueError("without recurrence there is no direction: set bidirectional = false")
        return self


def build_recurrent(
    settings: RecurrentSettings, *, in_channels: int, outputs: int, shape: Sequence[int]
) -> nn.Module:
    """Build the network.

    Parameters
    ----------
    settings : RecurrentSettings
        What to build.
    in_channels : int
        Values of each step, F.
    outputs : int
        Number of outputs, K.
    shape : sequence of int
        ``(T,)``, the steps of the longest sequence; the network takes other numbers as well.

    Returns
    -------
    torch.nn.Module
        Maps float32 (N, T, F) and lengths, int64 (N,), to (N, K), or to (N, T, K) with ``steps = "each"``;
        0 beyond the length. What stands beyond the length of a sequence changes nothing.

    Raises
    ------
    SettingsError
        The shape has another number of axes.
    """
    # torch is an extra, and slow to load: settings can be read and checked without it
    from torch import nn

    from voxlake.networks.recurrent_module import SequenceNetwork

    if len(shape) != 1:
        raise SettingsError(
            f"a recurrent network takes sequences of vectors, shape (T,), got {tuple(shape)}: "
            "for sequences of images take the network 'slices'"
        )
    return SequenceNetwork(settings, nn.Identity(), in_channels, outputs)
