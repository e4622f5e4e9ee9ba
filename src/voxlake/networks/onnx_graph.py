"""The graph of a network as an ONNX file, not yet compared with it; see `onnx_export`."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from voxlake.core.errors import UsageError

__all__ = ["FirstOutput", "to_onnx"]

# The oldest version of the operators that has group normalisation; all runtimes know it.
_OPERATORS = 18


class FirstOutput(nn.Module):
    """Gives one tensor of a network that gives several."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> Tensor:
        """The output, or the first one."""
        output = self.network(*inputs)
        first: Tensor = output if isinstance(output, Tensor) else output[0]
        return first


def to_onnx(
    network: nn.Module,
    inputs: Sequence[Tensor],
    *,
    names: Sequence[str] = ("x",),
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Export without a comparison; see `voxlake.networks.onnx_export.export_onnx`.

    Parameters
    ----------
    network, inputs, names, metadata
        See there.

    Raises
    ------
    UsageError
        The network cannot be exported, or what exports is not installed.
    """
    if find_spec("onnx") is None:
        raise UsageError(
            "networks are exported with onnx, which is not there: pip install 'voxlake[runtime]'"
        )
    if len(names) != len(inputs):
        raise UsageError(f"the network gets {len(inputs)} inputs, got the names {list(names)}")
    was_training = network.training
    network.eval()
    try:
        # The exporter that traces takes a fortieth of the time of the newer one; it warns that it is older,
        # and prints graphs that it cannot export.
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            data = _traced(FirstOutput(network), tuple(inputs), list(names))
    # Whatever a module does that cannot be traced comes as one of these.
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0][:200] if lines else type(error).__name__
        raise UsageError(f"this network cannot be exported to ONNX: {reason}") from error
    finally:
        network.train(was_training)
    return _finished(data, metadata or {})


def _traced(module: nn.Module, inputs: tuple[Tensor, ...], names: list[str]) -> bytes:
    # The exporter takes files too, other than its annotation says.
    file: Any = io.BytesIO()
    torch.onnx.export(
        module,
        inputs,
        file,
        input_names=names,
        output_names=["y"],
        dynamic_axes={name: {0: "batch"} for name in (*names, "y")},
        opset_version=_OPERATORS,
        dynamo=False,
    )
    data: bytes = file.getvalue()
    return data


def _finished(data: bytes, metadata: Mapping[str, str]) -> bytes:
    onnx: Any = import_module("onnx")
    model = onnx.load_model_from_string(data)
    for node in model.graph.node:
        if node.op_type == "Transpose":
            for attribute in node.attribute:
                # Tracing keeps axes counted from the end, which the standard does not know.
                count = len(attribute.ints)
                attribute.ints[:] = [axis % count for axis in attribute.ints]
    if metadata:
        onnx.helper.set_model_props(model, dict(metadata))
    written: bytes = model.SerializeToString()
    return written
