"""One training step of a 3-D U-Net on a batch of 2 patches of 96x96x96: forward, loss, backward, optimiser.

voxlake: as its training loop does it, channels last, bfloat16 where the processor multiplies in it (else
float32), denormal numbers flushed, memory kept, its own Dice and cross-entropy on uint8 targets.
plain: the same network in the form that the tutorials of MONAI use: float32, `DiceCELoss`, no memory format.

Both start from the same weights and see the same voxels; the losses of all steps are compared. 2 threads.

    python benchmarks/networks/train_step.py [--rounds 5] [--size 96] [--network unet|monai]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BATCH, CLASSES, WARM, STEPS = 2, 2, 2, 5
CHANNELS = (16, 32, 64, 128, 256)
AIMS = {"plain": 1.7}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--network", choices=["unet", "monai"], default="unet")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    given = parser.parse_args()
    if given.tool:
        print(json.dumps(measure(given.tool, given)))
        return
    sys.path.insert(0, str(HERE.parent))
    from harness import compare, machine, save

    shared = ("--size", str(given.size), "--network", given.network, "--clock", given.clock)
    commands = {name: [sys.executable, str(Path(__file__)), "--tool", name, *shared] for name in TOOLS}
    found = compare(commands, equal=equal, at_least=AIMS, rounds=given.rounds)
    stated = {"machine": machine(), "clock": given.clock, "size": given.size, "network": given.network}
    print(save({**stated, **found}, HERE, "train-step"))
    print(json.dumps(found["times_faster"], indent=1))


def measure(tool: str, given: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a step (median of five after two), and the loss of each."""
    warnings.simplefilter("ignore")
    import torch

    from voxlake.learning.runtime import torch_runtime

    torch.set_num_threads(2)
    generator = torch.Generator().manual_seed(1)
    shape = (BATCH, 1, *(given.size,) * 3)
    images = torch.randn(shape, generator=generator)
    # Something that can be learned: blocks of brighter voxels.
    blocks = torch.randint(0, CLASSES + 1, (BATCH, 1, 6, 6, 6), generator=generator)
    labels = torch.nn.functional.interpolate(blocks.float(), size=shape[2:], mode="nearest").to(torch.uint8)
    images += 2 * labels
    now = time.perf_counter if given.clock == "wall" else time.process_time
    seconds, losses = [], []
    with torch_runtime(2, 0) if tool == "voxlake" else nullcontext():
        step, stated = TOOLS[tool](network(given.network, given.size), images, labels)
        for _ in range(WARM + STEPS):
            start = now()
            losses.append(step())
            seconds.append(now() - start)
    return {"seconds": statistics.median(seconds[WARM:]), "check": losses, "tool": stated}


def network(name: str, size: int) -> Any:
    """Five stages of 16 to 256 channels; all but the output at half the resolution or less."""
    import torch

    if name == "monai":
        from monai.networks.nets import UNet

        torch.manual_seed(0)
        return UNet(
            spatial_dims=3,
            in_channels=1,
            out_channels=CLASSES + 1,
            channels=CHANNELS,
            strides=(2, 2, 2, 2),
            num_res_units=2,
        )
    from voxlake.networks.registry import build, read_settings

    settings = read_settings("unet", {"dimensions": 3, "channels": CHANNELS, "strides": (2,) * len(CHANNELS)})
    return build("unet", settings, in_channels=1, outputs=CLASSES + 1, shape=(size,) * 3, seed=0)


def voxlake(module: Any, images: Any, labels: Any) -> tuple[Callable[[], float], str]:
    import torch

    from voxlake.learning.objectives.segmentation import SegmentationObjective
    from voxlake.learning.optimisation import make_optimiser
    from voxlake.learning.runtime import arithmetic, autocast
    from voxlake.learning.settings import TrainingSettings

    device = torch.device("cpu")
    module.to(memory_format=torch.channels_last_3d).train()
    objective = SegmentationObjective(tuple(map(str, range(CLASSES))), dice="sample")
    optimiser = make_optimiser(
        module, TrainingSettings(optimiser="adam", learning_rate=1e-3, weight_decay=0.0)
    )
    inputs = images.contiguous(memory_format=torch.channels_last_3d)

    def step() -> float:
        optimiser.zero_grad(set_to_none=True)
        with autocast("auto", device):
            output = module(inputs)
        loss = objective.loss(output, labels[:, 0])
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return step, f"torch {torch.__version__}, {arithmetic('auto', device)}"


def plain(module: Any, images: Any, labels: Any) -> tuple[Callable[[], float], str]:
    import monai
    import torch
    from monai.losses import DiceCELoss

    module.train()
    loss_function = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-3)

    def step() -> float:
        optimiser.zero_grad()
        loss = loss_function(module(images), labels)
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return step, f"torch {torch.__version__}, monai {monai.__version__}"


TOOLS: dict[str, Callable[[Any, Any, Any], tuple[Callable[[], float], str]]] = {
    "voxlake": voxlake,
    "plain": plain,
}


def equal(checks: Mapping[str, Any]) -> str:
    """The losses must agree: to half a percent at the first step, to 5% after all."""
    ours, theirs = checks["voxlake"], checks["plain"]
    off = [abs(one / other - 1) for one, other in zip(ours, theirs, strict=True)]
    if off[0] > 0.005 or max(off) > 0.05:
        raise RuntimeError(f"the losses differ: {ours} and {theirs}")
    return f"losses differ by {off[0]:.2%} at the first step, at most by {max(off):.2%}"


if __name__ == "__main__":
    main()
