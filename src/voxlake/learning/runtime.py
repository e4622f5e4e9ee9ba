"""How torch is set up while it works: threads, denormal numbers, precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from voxlake.networks.inference_runtime import precision_of

__all__ = ["autocast", "torch_runtime"]


def autocast(precision: str) -> AbstractContextManager[object]:
    """Context in which multiplications use bfloat16, for ``"auto"`` on a processor that has it."""
    if precision == "auto" and precision_of("auto") is torch.bfloat16:
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
