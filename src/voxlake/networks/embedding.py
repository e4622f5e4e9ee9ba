"""What a network knows of its input before it answers."""

from __future__ import annotations

from torch import Tensor, nn

from voxlake.core.errors import SettingsError

__all__ = ["embed"]


def embed(module: nn.Module, *inputs: Tensor) -> Tensor:
    """Embedding of each input.

    Parameters
    ----------
    module : torch.nn.Module
        A network, in the mode that is wanted: call its ``eval()`` before.
    *inputs : torch.Tensor
        What it is called with, N at a time.

    Returns
    -------
    torch.Tensor
        float32 (N, Z): what ``encode`` gives, if the module has it, else what the dense layer sees that is
        called last.

    Raises
    ------
    SettingsError
        The network has neither.
    """
    encode = getattr(module, "encode", None)
    if encode is not None:
        encoded: Tensor = encode(*inputs)
        return encoded
    dense = [part for part in module.modules() if isinstance(part, nn.Linear)]
    if not dense:
        raise SettingsError(
            f"{type(module).__name__} gives no embedding: it has no dense layer and no encode; "
            "take a network that gives a vector or a reconstruction"
        )
    # the order in which layers were made need not be the order in which they are called
    seen: list[Tensor] = []
    handles = [part.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for part in dense]
    try:
        module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return seen[-1]
