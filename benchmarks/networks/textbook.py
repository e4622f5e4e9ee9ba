"""The network of the textbook on 10,000 images of 28 x 28 in ten classes, ten epochs of batches of 32.

voxlake's `fit_arrays` against Keras 3 on each backend that is installed beside it (``--peers``). All tools
get the same arrays: the 1,797 digits of scikit-learn, a third kept for the test; of the others 10,000 are
drawn, scaled to 28 x 28 and moved by up to two pixels. Keras compiles its step where it can
(``jit_compile="auto"``, its default, is on for JAX). The clock holds compilation and training: the first call
as a user sees it. Outputs are equal where the accuracies on the test part are.

    python benchmarks/networks/textbook.py --peers .peers/bin/python --rounds 5
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
IMAGES, EPOCHS, BATCH = 10_000, 10, 32


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=Path, required=True, help="Python with keras and its backends")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--drive", choices=["voxlake", "keras"])
    parser.add_argument("--arrays", type=Path)
    given = parser.parse_args()
    if given.drive:
        drive(given.drive, given.arrays)
        return
    sys.path.insert(0, str(HERE.parent))
    from harness import compare, machine, save

    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "digits.npz"
        write_digits(arrays)
        common = ["--arrays", str(arrays), "--peers", str(given.peers)]
        tools = {"voxlake": [sys.executable, __file__, "--drive", "voxlake", *common]}
        for backend in backends(given.peers):
            tools[f"Keras, {backend}"] = [
                "env",
                f"KERAS_BACKEND={backend}",
                "TF_CPP_MIN_LOG_LEVEL=3",
                str(given.peers),
                __file__,
                "--drive",
                "keras",
                *common,
            ]
        aims = {name: 2.5 if name.endswith("torch") else 1.3 for name in tools if name != "voxlake"}
        found = compare(tools, equal=same_accuracy, at_least=aims, rounds=given.rounds)
    print(json.dumps({key: found[key] for key in ("median", "times_faster", "outputs")}, indent=1))
    print(
        save(
            {"machine": machine(), "images": IMAGES, "epochs": EPOCHS, "batch": BATCH, **found},
            HERE,
            "textbook",
        )
    )


def backends(python: Path) -> list[str]:
    """Backends of Keras that are installed there."""
    known = ["torch", "jax", "tensorflow"]
    code = f"import importlib.util as u, json; print(json.dumps([n for n in {known} if u.find_spec(n)]))"
    text = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout
    return list(json.loads(text))


def write_digits(path: Path) -> None:
    """Train and test arrays, float32 (N, 28, 28, 1) from 0 to 1."""
    import numpy as np
    from scipy.ndimage import shift, zoom
    from sklearn.datasets import load_digits

    digits = load_digits()
    rng = np.random.default_rng(0)
    order = rng.permutation(len(digits.images))
    test, train = order[:599], order[599:]

    def image(number: int, moved: tuple[float, float]) -> Any:
        large = zoom(digits.images[number] / 16, 3.5, order=1)
        return shift(large, moved, order=1)[..., None].astype(np.float32)

    drawn = rng.choice(train, IMAGES)
    np.savez(
        path,
        x_train=np.stack([image(number, tuple(rng.uniform(-2, 2, 2))) for number in drawn]),
        y_train=digits.target[drawn],
        x_test=np.stack([image(number, (0, 0)) for number in test]),
        y_test=digits.target[test],
    )


def drive(tool: str, path: Path) -> None:
    """Train once and print what it took."""
    import numpy as np

    with np.load(path) as data:
        arrays = {name: data[name] for name in data.files}
    seconds, accuracy = ours(arrays) if tool == "voxlake" else keras(arrays)
    print(json.dumps({"seconds": seconds, "check": accuracy, "threads": os.cpu_count()}))


def ours(arrays: Mapping[str, Any]) -> tuple[float, float]:
    """voxlake."""
    import voxlake as vl

    fit = vl.fit_arrays
    network = {"name": "cnn", "blocks": [32], "normalisation": "none", "padding": "valid", "head": "flatten"}
    started = time.perf_counter()
    model = fit(network, arrays["x_train"], arrays["y_train"], epochs=EPOCHS, batch_size=BATCH)
    seconds = time.perf_counter() - started
    return seconds, float(model.evaluate(arrays["x_test"], arrays["y_test"])["accuracy"])


def keras(arrays: Mapping[str, Any]) -> tuple[float, float]:
    """Keras as its own first example has it."""
    import keras as k

    model = k.Sequential(
        [
            k.Input((28, 28, 1)),
            k.layers.Conv2D(32, 3, activation="relu"),
            k.layers.MaxPooling2D(2),
            k.layers.Flatten(),
            k.layers.Dense(10, activation="softmax"),
        ]
    )
    started = time.perf_counter()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(arrays["x_train"], arrays["y_train"], epochs=EPOCHS, batch_size=BATCH, verbose=0)
    seconds = time.perf_counter() - started
    return seconds, float(model.evaluate(arrays["x_test"], arrays["y_test"], verbose=0)[1])


def same_accuracy(found: Mapping[str, Any]) -> str:
    """Accuracies to within two points, which is what another seed makes of 599 test images."""
    if max(found.values()) - min(found.values()) > 0.02:
        raise SystemExit(f"accuracies differ: {found}")
    return ", ".join(f"{name} {value:.3f}" for name, value in found.items())


if __name__ == "__main__":
    main()
