"""How torch is set up while it works: threads, denormal numbers, precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

__all__ = ["autocast", "has_bfloat16", "torch_runtime"]


def has_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16 (AVX-512-BF16, AMX, Arm); emulated, it is slower."""
    # Older torch cannot say; float32 is always right.
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def autocast(precision: str) -> AbstractContextManager[object]:
    """Context in which multiplications use bfloat16, for ``"auto"`` on a processor that has it."""
    if precision == "auto" and has_bfloat16():
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return nullcontext()


@contextmanager
def torch_runtime(threads: int | None, seed: int) -> Iterator[None]:
    """Set threads and the global seed, and flush denormals; all of it is undone afterwards."""
    before = torch.get_num_threads()
    torch.set_flush_denormal(True)
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)
