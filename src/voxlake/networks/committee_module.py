"""The module of a committee of networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from voxlake.networks.embedding import embed

__all__ = ["Committee"]


class Committee(nn.Module):
    """Networks that learn from shares of each batch and answer with their mean.

    Parameters
    ----------
    members : sequence of torch.nn.Module
        Each maps (N, C, [D,] H, W) to (N, K).
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, [D,] H, W) to (N, K)."""
        # One image alone has no statistics to normalise by: then all members see the few that there are.
        if self.training and len(x) >= 2 * len(self.members):
            shares = torch.tensor_split(x, len(self.members))
            return torch.cat([member(share) for member, share in zip(self.members, shares, strict=True)])
        return torch.stack([member(x) for member in self.members]).mean(dim=0)

    def encode(self, x: Tensor) -> Tensor:
        """Embeddings of all members side by side."""
        return torch.cat([embed(member, x) for member in self.members], dim=1)
