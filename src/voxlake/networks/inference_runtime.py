"""How torch is set up for inference on a processor: denormal numbers, threads, precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch

__all__ = ["Precision", "inference", "precision_of"]

Precision = Literal["auto", "float32"]


def precision_of(precision: Precision) -> torch.dtype:
    """Type of the arithmetic: bfloat16 for ``"auto"`` where the processor multiplies in it, else float32."""
    # Emulated, bfloat16 is slower than float32. Older torch cannot say.
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    fast = any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return torch.bfloat16 if precision == "auto" and fast else torch.float32


@contextmanager
def inference() -> Iterator[None]:
    """Without gradients and with denormal numbers flushed to zero; undone afterwards."""
    torch.set_flush_denormal(True)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_flush_denormal(False)
