"""The module that joins the features of an image and of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from voxlake.networks.fusion import FusionSettings

__all__ = ["Fusion"]


class Fusion(nn.Module):
    """Features of both, joined, and a head.

    Parameters
    ----------
    settings : FusionSettings
        Features, join and dropout.
    image : torch.nn.Module
        Maps (N, C, ...) to (N, features).
    table : torch.nn.Module
        Maps (N, F) to (N, features).
    head : torch.nn.Module
        Maps what was joined, (N, 2 * features) or (N, features), to (N, K).
    """

    def __init__(self, settings: FusionSettings, image: nn.Module, table: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.image = image
        self.table = table
        self.gate = nn.Linear(2 * settings.features, settings.features) if settings.join == "gated" else None
        self.dropout = nn.Dropout(settings.dropout)
        self.head = head

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        """(N, C, ...) and (N, F) to (N, K)."""
        answers: Tensor = self.head(self.dropout(self.join(x, table)))
        return answers

    def join(self, x: Tensor, table: Tensor) -> Tensor:
        """What the head sees: (N, 2 * features), or (N, features) where it is gated."""
        # both on one scale, so that neither drowns the other
        image, row = torch.tanh(self.image(x)), torch.tanh(self.table(table))
        both = torch.cat([image, row], dim=1)
        if self.gate is None:
            return both
        weight = torch.sigmoid(self.gate(both))
        return weight * image + (1 - weight) * row
