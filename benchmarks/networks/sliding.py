"""A U-Net over 192 x 256 x 256 in windows of 96 cubed, half of each shared with the next, Gaussian blending.

The same network on both sides (MONAI's own UNet, the one of its tutorials: 5 stages of 16 to 256 channels,
two residual units each), equal weights, 2 threads, argmax included. It has learned for some steps to tell
three ranges of a smooth field from noisy values of it: outputs of a network that has learned nothing are
level nearly everywhere, so that rounding decides. The clock includes what is done once for a network too:
export, compilation and comparison with torch.

MONAI: sliding_window_inference in float32 under inference_mode, four windows at a time as in its tutorials,
and one at a time, which takes less memory; it is given the same weights of blending. "voxlake torch" is our
sliding window without OpenVINO.

Masks must be equal in 99.9% of the voxels.

    python benchmarks/networks/sliding.py --peers PYTHON [--rounds 5] [--shape 192 256 256] [--tile 96]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CLASSES = 3
LEARNED = 60
EQUAL = 0.999
AIMS = {"monai": 2.5, "monai one by one": 2.5}
Labels = Callable[[Any, Any, int], Any]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool")
    parser.add_argument("--peers", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", type=int, nargs=3, default=[192, 256, 256])
    parser.add_argument("--tile", type=int, default=96)
    parser.add_argument("--norm", choices=["batch", "instance"], default="batch")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--keep")
    parser.add_argument("--weights", type=Path)
    given = parser.parse_args()
    if given.tool:
        print(json.dumps(measure(given)))
        return
    sys.path.insert(0, str(HERE.parent))
    from harness import compare, machine, save

    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pt"
        learn(given.norm, weights)
        same = [
            "--weights",
            str(weights),
            "--shape",
            *map(str, given.shape),
            "--tile",
            str(given.tile),
            "--norm",
            given.norm,
        ]
        commands = {
            name: [
                given.peers if name.startswith("monai") else sys.executable,
                *(str(Path(__file__)), "--tool", name, "--clock", given.clock, *same),
                *("--keep", str(Path(folder) / f"{name.replace(' ', '-')}.npy")),
            ]
            for name in TOOLS
        }
        found = compare(commands, equal=equal, at_least=AIMS, rounds=given.rounds)
    asked = {"shape": given.shape, "tile": given.tile, "norm": given.norm, "clock": given.clock}
    print(save({"machine": machine(), **asked, **found}, HERE, f"sliding-{given.norm}"))
    print(json.dumps(found["times_faster"], indent=1))


def measure(given: argparse.Namespace) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    import numpy as np
    import torch

    torch.set_num_threads(2)
    network = unet(given.norm).eval()
    network.load_state_dict(torch.load(given.weights, weights_only=True))
    volume = noisy(smooth_noise(given.shape), seed=2)
    labels, stated = TOOLS[given.tool]()
    # One window, so that libraries are loaded and caches are warm.
    labels(network, volume[: given.tile, : given.tile, : given.tile], given.tile)
    now = time.perf_counter if given.clock == "wall" else time.process_time
    start = now()
    mask = labels(network, volume, given.tile)
    seconds = now() - start
    np.save(given.keep, np.asarray(mask, dtype=np.uint8))
    return {"seconds": seconds, "check": {"mask": given.keep, "weights": digest(network)}, "tool": stated}


def unet(norm: str) -> Any:
    import torch
    from monai.networks.nets import UNet

    torch.manual_seed(0)
    return UNet(3, 1, CLASSES, (16, 32, 64, 128, 256), (2, 2, 2, 2), num_res_units=2, norm=norm)


def digest(network: Any) -> str:
    """SHA-256 of all weights."""
    import hashlib

    found = hashlib.sha256()
    for value in network.state_dict().values():
        found.update(value.numpy().tobytes())
    return found.hexdigest()


def learn(norm: str, weights: Path) -> None:
    """Train the network on patches of 64 cubed, and keep its weights for all tools."""
    import numpy as np
    import torch

    network = unet(norm).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    field = smooth_noise((128, 128, 128), seed=3)
    labels = np.digitize(field, np.quantile(field, [1 / 3, 2 / 3]))
    values = noisy(field, seed=4)
    draw = np.random.default_rng(5)
    for _ in range(LEARNED):
        places = draw.integers(0, 64, (2, 3))
        boxes = [tuple(slice(start, start + 64) for start in place) for place in places]
        images = torch.from_numpy(np.stack([values[box] for box in boxes]))[:, None]
        loss = torch.nn.functional.cross_entropy(
            network(images), torch.from_numpy(np.stack([labels[box] for box in boxes]))
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    print(f"loss after {LEARNED} steps: {float(loss.detach()):.3f}")
    torch.save(network.state_dict(), weights)


def noisy(field: Any, *, seed: int) -> Any:
    """The field with noise of half its deviation."""
    import numpy as np

    noise = np.random.default_rng(seed).standard_normal(field.shape, dtype=np.float32)
    return field + noise * (field.std() / 2)


def smooth_noise(shape: Sequence[int], *, seed: int = 1) -> Any:
    import numpy as np
    import torch

    coarse = np.random.default_rng(seed).standard_normal([1, 1, *(max(2, size // 8) for size in shape)])
    grown = torch.nn.functional.interpolate(
        torch.from_numpy(coarse.astype(np.float32)), size=tuple(shape), mode="trilinear"
    )
    return grown[0, 0].numpy()


def voxlake(engine: str) -> Callable[[], tuple[Labels, str]]:
    def tool() -> tuple[Labels, str]:
        from importlib.metadata import version

        from voxlake.networks.runtimes import runtimes
        from voxlake.networks.tiled import Tiling, tiled_labels

        def labels(network: Any, volume: Any, tile: int) -> Any:
            return tiled_labels(network, volume, Tiling(tile=(tile, tile, tile)), engine=engine)

        return labels, f"voxlake {version('voxlake')}, {engine}, {runtimes()}"

    return tool


def gaussian(tile: int) -> Any:
    """Weights of a window; MONAI's own are raised to 0.001 at the corners, which moves borders."""
    import torch

    along = torch.exp(-0.5 * ((torch.arange(tile) - (tile - 1) / 2) / (tile / 8)) ** 2)
    return along[:, None, None] * along[:, None] * along


def monai(at_once: int) -> Callable[[], tuple[Labels, str]]:
    def tool() -> tuple[Labels, str]:
        import monai
        import torch
        from monai.inferers import sliding_window_inference

        def labels(network: Any, volume: Any, tile: int) -> Any:
            with torch.inference_mode():
                x = torch.from_numpy(volume.copy())[None, None]
                output = sliding_window_inference(
                    x, (tile, tile, tile), at_once, network, overlap=0.5, roi_weight_map=gaussian(tile)
                )
                return output.argmax(dim=1)[0].numpy()

        return labels, f"monai {monai.__version__}, torch {torch.__version__}, {at_once} at a time"

    return tool


TOOLS: dict[str, Callable[[], tuple[Labels, str]]] = {
    "voxlake": voxlake("auto"),
    "voxlake torch": voxlake("torch"),
    "monai": monai(4),
    "monai one by one": monai(1),
}


def equal(checks: Mapping[str, Any]) -> str:
    """All networks must have the same weights, and all masks must be equal in nearly all voxels."""
    import numpy as np

    if len({check["weights"] for check in checks.values()}) != 1:
        raise RuntimeError("the weights differ between the tools")
    masks = {name: np.load(check["mask"]) for name, check in checks.items()}
    ours = masks["voxlake"]
    shares = {name: float((mask == ours).mean()) for name, mask in masks.items() if name != "voxlake"}
    if min(shares.values()) < EQUAL:
        raise RuntimeError(f"the masks differ: {shares}")
    counts = np.bincount(ours.ravel(), minlength=CLASSES) / ours.size
    return f"equal voxels: {shares}; shares of the classes: {[round(float(one), 3) for one in counts]}"


if __name__ == "__main__":
    main()
