"""Exported networks, run by OpenVINO or ONNX Runtime behind the call of a torch module.

Both are optional. On a processor OpenVINO takes a third to a quarter of the time of torch for a U-Net, for it
fuses convolution, normalisation and activation, and keeps to the memory layout of the processor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from voxlake.core.errors import UsageError
from voxlake.networks.inference_runtime import Precision, precision_of
from voxlake.networks.onnx_graph import to_onnx

__all__ = ["Engine", "Exported", "Runtime", "accelerated", "load_exported", "runtimes"]

Runtime = Literal["openvino", "onnxruntime"]
Engine = Literal["torch", "auto", "openvino", "onnxruntime"]

_RUNTIMES: tuple[Runtime, ...] = ("openvino", "onnxruntime")
# What a runtime may differ from torch in, as a share of the largest output: sums over a million voxels are
# taken in another order by instance normalisation.
_TOLERANCE = 1e-2


def runtimes() -> tuple[Runtime, ...]:
    """The runtimes that are installed, the faster one first."""
    return tuple(name for name in _RUNTIMES if find_spec(name) is not None)


class Exported:
    """An exported network, called as the module that it was exported from.

    Parameters
    ----------
    run : callable
        Maps arrays to the array of the first output.
    inputs : int
        How many arrays it takes.
    runtime : {"openvino", "onnxruntime"}
        What computes.
    """

    def __init__(self, run: Callable[[list[Any]], Any], inputs: int, runtime: Runtime) -> None:
        self._run = run
        self.inputs = inputs
        self.runtime = runtime

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The first output, float32 on the CPU, for the inputs in the order of the module.

        Raises
        ------
        UsageError
            The file takes another number of inputs (those that change nothing are left out by an export), or
            cannot be run on inputs of such an extent.
        """
        if len(inputs) != self.inputs:
            raise UsageError(f"the exported network takes {self.inputs} inputs, got {len(inputs)}")
        arrays = [np.ascontiguousarray(each.detach().cpu().numpy()) for each in inputs]
        try:
            return torch.from_numpy(self._run(arrays))
        except _failures(self.runtime) as error:
            shapes = [tuple(each.shape) for each in inputs]
            raise UsageError(
                f"{self.runtime} cannot run the exported network on {shapes}: {_first_line(error)}"
            ) from error


def load_exported(
    model: bytes,
    runtime: Runtime | Literal["auto"] = "auto",
    *,
    shape: Sequence[int] | None = None,
    threads: int | None = None,
    precision: Precision = "float32",
) -> Exported:
    """Load a network from the bytes of an ONNX file.

    Parameters
    ----------
    model : bytes
        From `voxlake.networks.onnx_export.export_onnx`, or of any ONNX file.
    runtime : {"auto", "openvino", "onnxruntime"}
        What computes; ``"auto"`` is the faster one that is installed.
    shape : sequence of int, optional
        Extent of the first input, batch first, where it never changes: OpenVINO is faster if it knows.
    threads : int, optional
        As many as torch has, if absent.
    precision : {"auto", "float32"}
        ``"auto"`` lets OpenVINO compute in bfloat16 where the processor has it.

    Raises
    ------
    UsageError
        The runtime is not installed, or cannot read the file.
    """
    chosen = _chosen(runtime)
    count = torch.get_num_threads() if threads is None else threads
    try:
        if chosen == "openvino":
            run, inputs = _openvino(model, shape, count, precision)
        else:
            run, inputs = _onnxruntime(model, count)
    except _failures(chosen) as error:
        raise UsageError(f"{chosen} cannot run this network: {_first_line(error)}") from error
    return Exported(run, inputs, chosen)


def accelerated(
    network: nn.Module | Callable[..., Tensor],
    shape: Sequence[int],
    *,
    engine: Engine = "auto",
    precision: Precision = "auto",
) -> Callable[..., Tensor]:
    """A network of one input as the fastest runtime runs it, after a comparison of the outputs.

    Parameters
    ----------
    network : torch.nn.Module or callable
        In evaluation mode. What is no module, or lies on no CPU, stays as it is with ``"auto"``.
    shape : sequence of int
        Extent of the input, largest batch first.
    engine : {"torch", "auto", "openvino", "onnxruntime"}
        ``"torch"`` gives the network back; ``"auto"`` too, where OpenVINO is missing or cannot run it.
    precision : {"auto", "float32"}
        ``"auto"`` computes in bfloat16 where the processor has it.

    Raises
    ------
    UsageError
        A runtime was named, and is not installed, cannot run the network, or says something else.
    """
    if engine == "torch" or (engine == "auto" and "openvino" not in runtimes()):
        return network
    runtime: Runtime = "onnxruntime" if engine == "onnxruntime" else "openvino"
    try:
        return _converted(network, shape, _chosen(runtime), precision)
    except UsageError:
        if engine == "auto":
            return network
        raise


def _converted(network: object, shape: Sequence[int], runtime: Runtime, precision: Precision) -> Exported:
    parameter = next(network.parameters(), None) if isinstance(network, nn.Module) else None
    if not isinstance(network, nn.Module) or (parameter is not None and parameter.device.type != "cpu"):
        raise UsageError(f"{runtime} runs modules that lie on the CPU, got {type(network).__name__}")
    example = torch.randn((1, *shape[1:]), generator=torch.Generator().manual_seed(0))
    fixed = tuple(shape) if shape[0] == 1 else None
    heard = _Heard(network)
    exported = load_exported(to_onnx(heard, (example,)), runtime, shape=fixed, precision=precision)
    expected = heard.output.float()
    found = exported(example)
    allowed = _TOLERANCE * max(1.0, float(expected.abs().max()))
    exact = precision_of(precision) is torch.float32
    if found.shape != expected.shape or (exact and not float((found - expected).abs().max()) <= allowed):
        raise UsageError(f"{runtime} gives other outputs than torch for this network; take engine = 'torch'")
    return exported


class _Heard(nn.Module):
    """A network whose last output is kept: its export runs it once, which need not be done again."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.train(network.training)

    def forward(self, x: Tensor) -> Tensor:
        """What the network says, the first of several outputs."""
        output = self.network(x)
        self.output: Tensor = output if isinstance(output, Tensor) else output[0]
        return self.output


def _chosen(runtime: str) -> Runtime:
    found = runtimes()
    for name in found:
        if runtime in ("auto", name):
            return name
    wanted = "OpenVINO or ONNX Runtime" if runtime == "auto" else f"the module {runtime}"
    raise UsageError(
        f"exported networks are run by {wanted}, which is not there: pip install 'voxlake[runtime]'"
    )


def _openvino(
    model: bytes, shape: Sequence[int] | None, threads: int, precision: Precision
) -> tuple[Callable[[list[Any]], Any], int]:
    openvino: Any = import_module("openvino")
    core = openvino.Core()
    network = core.read_model(model)
    if shape is not None:
        network.reshape({network.inputs[0]: list(shape)})
    kind = "bf16" if precision_of(precision) is torch.bfloat16 else "f32"
    settings = {
        # Left alone, it computes in bfloat16 where it can.
        "INFERENCE_PRECISION_HINT": kind,
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = core.compile_model(network, "CPU", settings)

    def run(arrays: list[Any]) -> Any:
        return compiled(arrays, share_inputs=True, share_outputs=False)[0]

    return run, len(network.inputs)


def _onnxruntime(model: bytes, threads: int) -> tuple[Callable[[list[Any]], Any], int]:
    onnxruntime: Any = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(arrays: list[Any]) -> Any:
        return session.run(None, dict(zip(names, arrays, strict=True)))[0]

    return run, len(names)


def _failures(runtime: Runtime) -> tuple[type[Exception], ...]:
    """What a runtime raises on a file that it cannot read or run."""
    if runtime == "openvino":
        return (RuntimeError, ValueError)
    errors: Any = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    names = (
        "InvalidArgument",
        "InvalidProtobuf",
        "InvalidGraph",
        "NotImplemented",
        "Fail",
        "RuntimeException",
    )
    return (RuntimeError, *(getattr(errors, name) for name in names))


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
