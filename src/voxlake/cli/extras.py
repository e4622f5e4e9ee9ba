"""Which extra brings a module that is not installed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["EXTRAS", "missing_extra"]

EXTRAS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "learn": ("torch", "safetensors", "monai"),
        "runtime": ("onnx", "onnxruntime", "openvino"),
        "track": ("tensorboard", "mlflow", "alembic", "sqlalchemy"),
        "mine": ("sklearn", "threadpoolctl", "statsmodels", "faiss", "skops"),
        "report": ("jinja2", "matplotlib"),
        "dask": ("distributed",),
        "ray": ("ray",),
    }
)
"""Modules that each extra brings."""


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """What to say of a module that was not found; None where no extra brings it."""
    module = (error.name or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if module in modules:
            return f"this needs '{module}', which is not installed; run `pip install 'voxlake[{extra}]'`"
    return None
