"""How torch is set up while it works: device, threads, denormal numbers, precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from voxlake.core.allocator import memory_kept
from voxlake.core.errors import UsageError
from voxlake.networks.inference_runtime import precision_of

__all__ = ["arithmetic", "autocast", "device_of", "torch_runtime"]


def device_of(device: str) -> torch.device:
    """The device of a setting: ``"auto"`` is a GPU if there is one.

    Raises
    ------
    UsageError
        A GPU is asked for, and torch sees none.
    """
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise UsageError("device = 'cuda', but torch sees no GPU; set device = 'auto' or 'cpu'")
    return torch.device("cuda" if there and device != "cpu" else "cpu")


def arithmetic(precision: str, device: torch.device) -> torch.dtype:
    """What is multiplied in on a device.

    Raises
    ------
    UsageError
        float16 is asked for on a processor.
    """
    if precision == "float16" and device.type == "cpu":
        raise UsageError("precision = 'float16' is for a GPU; take 'auto', 'bfloat16' or 'float32'")
    if precision != "auto":
        return {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}[precision]
    if device.type == "cpu":
        return precision_of("auto")
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def autocast(precision: str, device: torch.device | None = None) -> AbstractContextManager[object]:
    """Context in which a network multiplies in what the precision says; see `arithmetic`."""
    where = torch.device("cpu") if device is None else device
    dtype = arithmetic(precision, where)
    return nullcontext() if dtype is torch.float32 else torch.autocast(where.type, dtype=dtype)


@contextmanager
def torch_runtime(threads: int | None, seed: int) -> Iterator[None]:
    """Set threads and the global seed, flush denormals, keep memory; all of it is undone afterwards."""
    before = torch.get_num_threads()
    torch.set_flush_denormal(True)
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with memory_kept(), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)
