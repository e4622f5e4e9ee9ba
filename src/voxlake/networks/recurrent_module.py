"""Modules that go along sequences of unequal length."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from voxlake.core.errors import UsageError

if TYPE_CHECKING:
    from voxlake.networks.recurrent import RecurrentSettings

__all__ = ["Recurrence", "SequenceNetwork", "StepPooling", "on_steps", "step_mask"]


def step_mask(lengths: Tensor, steps: int) -> Tensor:
    """Which steps belong to each sequence.

    Parameters
    ----------
    lengths : torch.Tensor
        int64 (N,), each from 1 to `steps`.
    steps : int
        Steps of the padded sequences, T.

    Returns
    -------
    torch.Tensor
        bool (N, T).

    Raises
    ------
    UsageError
        A length below 1 or above `steps`.
    """
    # a graph that is written for other lengths cannot ask about these
    if not torch.compiler.is_exporting() and ((lengths < 1) | (lengths > steps)).any():
        raise UsageError(
            f"lengths from {int(lengths.min())} to {int(lengths.max())} for sequences padded to {steps} "
            "steps: each has to be at least 1 and at most that"
        )
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


def on_steps(module: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
    """Apply a module to every step that belongs to its sequence; 0 elsewhere.

    The module never sees padding. Statistics over a batch and draws of dropout are therefore the same
    however far the sequences were padded.

    Parameters
    ----------
    module : torch.nn.Module
        Maps (M, ...) to (M, Z).
    x : torch.Tensor
        (N, T, ...).
    mask : torch.Tensor
        bool (N, T).

    Returns
    -------
    torch.Tensor
        (N, T, Z).
    """
    if torch.compiler.is_exporting():
        # a graph has fixed extents; in an exported network nothing is random or counted over a batch
        every: Tensor = module(x.flatten(0, 1)).unflatten(0, mask.shape)
        return every.masked_fill(~mask[..., None], 0)
    values: Tensor = module(x[mask])
    result = values.new_zeros(*mask.shape, *values.shape[1:])
    result[mask] = values
    return result


class Recurrence(nn.Module):
    """Layers along a sequence: (N, T, F) and a mask (N, T) to states (N, T, Z).

    Going back starts at the last step of each sequence, not at the end of the padding.

    Parameters
    ----------
    settings : RecurrentSettings
        Cell, hidden, layers, bidirectional and dropout.
    features : int
        Values of each step, F.

    Attributes
    ----------
    features : int
        Values of each state, Z.
    """

    def __init__(self, settings: RecurrentSettings, features: int) -> None:
        super().__init__()
        self.features = settings.hidden * (2 if settings.bidirectional else 1)
        inputs = [features] + [self.features] * (settings.layers - 1)
        self.onward = nn.ModuleList(_layer(settings, size) for size in inputs)
        self.back = nn.ModuleList(_layer(settings, size) for size in inputs if settings.bidirectional)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """States of all steps; what stands beyond a length has no meaning."""
        turned = _turned(mask)
        for number, layer in enumerate(self.onward):
            if number and self.dropout.p:
                x = on_steps(self.dropout, x, mask)
            states = _run(layer, x)
            if self.back:
                returned = _run(self.back[number], _take(x, turned))
                states = torch.cat([states, _take(returned, turned)], dim=2)
            x = states
        return x


class StepPooling(nn.Module):
    """Bring the steps of each sequence to one vector: (N, T, Z) and a mask (N, T) to (N, Z).

    Parameters
    ----------
    settings : RecurrentSettings
        Pooling and bidirectional.
    features : int
        Values of each step, Z.
    """

    def __init__(self, settings: RecurrentSettings, features: int) -> None:
        super().__init__()
        self.pooling = settings.pooling
        self.bidirectional = settings.bidirectional
        self.score = (
            nn.Sequential(nn.Linear(features, features), nn.Tanh(), nn.Linear(features, 1))
            if settings.pooling == "attention"
            else nn.Identity()
        )

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """(N, T, Z) to (N, Z)."""
        outside = ~mask[..., None]
        match self.pooling:
            case "last":
                return self._last(states, mask)
            case "max":
                return states.masked_fill(outside, -torch.inf).amax(dim=1)
            case "attention":
                weights: Tensor = self.score(states).masked_fill(outside, -torch.inf).softmax(dim=1)
                return (weights * states.masked_fill(outside, 0)).sum(dim=1)
        return _mean(states, mask)

    def _last(self, states: Tensor, mask: Tensor) -> Tensor:
        ends = (mask.sum(dim=1) - 1)[:, None, None].expand(-1, 1, states.shape[2])
        last = states.gather(1, ends)[:, 0]
        if not self.bidirectional:
            return last
        half = states.shape[2] // 2
        return torch.cat([last[:, :half], states[:, 0, half:]], dim=1)


class SequenceNetwork(nn.Module):
    """An encoder of each step, recurrence along the steps, and a head for the sequence or for each step.

    Parameters
    ----------
    settings : RecurrentSettings
        Of all but the encoder.
    encoder : torch.nn.Module
        Maps one step (M, ...) to (M, features).
    features : int
        Values that the encoder gives.
    outputs : int
        Number of outputs, K.
    """

    def __init__(self, settings: RecurrentSettings, encoder: nn.Module, features: int, outputs: int) -> None:
        super().__init__()
        self.each = settings.steps == "each"
        self.encoder = encoder
        self.recurrence = Recurrence(settings, features)
        self.pooling = None if self.each else StepPooling(settings, self.recurrence.features)
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(self.recurrence.features, outputs)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(N, T, ...) and lengths int64 (N,) to (N, K), or (N, T, K) with 0 beyond the lengths."""
        mask = step_mask(lengths, x.shape[1])
        states = self._states(x, mask)
        if self.pooling is not None:
            answers: Tensor = self.head(self.dropout(self.pooling(states, mask)))
            return answers
        if self.dropout.p:
            states = on_steps(self.dropout, states, mask)
        each: Tensor = self.head(states)
        return each.masked_fill(~mask[..., None], 0)

    def encode(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(N, Z): the pooled states that the head sees; their mean where each step has an answer."""
        mask = step_mask(lengths, x.shape[1])
        states = self._states(x, mask)
        if self.pooling is not None:
            pooled: Tensor = self.pooling(states, mask)
            return pooled
        return _mean(states, mask)

    def _states(self, x: Tensor, mask: Tensor) -> Tensor:
        states: Tensor = self.recurrence(on_steps(self.encoder, x, mask), mask)
        return states


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    return states.masked_fill(~mask[..., None], 0).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def _layer(settings: RecurrentSettings, features: int) -> nn.Module:
    match settings.cell:
        case "gru":
            return nn.GRU(features, settings.hidden, batch_first=True)
        case "lstm":
            return nn.LSTM(features, settings.hidden, batch_first=True)
        case "none":
            return nn.Sequential(nn.Linear(features, settings.hidden), nn.ReLU())


def _run(layer: nn.Module, x: Tensor) -> Tensor:
    """Outputs of all steps; a recurrent layer also returns its last state."""
    found = layer(x)
    states: Tensor = found[0] if isinstance(found, tuple) else found
    return states


def _turned(mask: Tensor) -> Tensor:
    """Index that turns each sequence round within its length and leaves the padding where it is; (N, T)."""
    places = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    return torch.where(mask, mask.sum(dim=1, keepdim=True) - 1 - places, places)


def _take(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[2]))
