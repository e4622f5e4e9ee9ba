"""The 10 nearest of 1,000,000 vectors of 256 numbers, for 1,000 queries.

From voxlake's index (inverted lists, recall of at least 0.99 against the exact answer, measured here on the
queries themselves) against brute force in NumPy: float32 matrix products by BLAS on all cores in blocks of
queries, squared lengths added once, `argpartition`, exact order of the ten. The block of queries with which
NumPy is quickest is found before the clock.

The vectors are made, not taken from images: 24 latent numbers drawn around 300 centres that overlap (the
deviation around a centre is that of the centres), passed through a fixed random network (two layers, tanh) to
256 numbers, plus normal noise of a tenth of their deviation. They lie near a surface of few dimensions, as
embeddings of images do, and not in lumps. Vectors without such structure (256 independent
normal numbers) have no near neighbours that could be found quicker than by looking at all; `--data uniform`
shows it. Queries are drawn in the same way and are not among the vectors. Making the data and the index is
not counted; seconds and memory of the index are printed beside.

    python benchmarks/mining/similar.py [--rounds 5] [--vectors 1000000] [--queries 1000]
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DIMENSIONS = 256
LATENT = 24
CENTRES = 300
NEIGHBOURS = 10
RECALL = 0.99
SEED = 11


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--data", choices=("embeddings", "uniform"), default="embeddings")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "voxlake-benchmark-similar"
    )
    given = parser.parse_args()
    folder = given.folder / f"{given.data}-{given.vectors}-{given.queries}"
    if given.tool:
        print(json.dumps(TOOLS[given.tool](folder)))
        return
    sys.path.insert(0, str(HERE.parent))
    from harness import compare, machine, save

    prepare(folder, given.vectors, given.queries, given.data)
    build(folder)
    command = [sys.executable, str(Path(__file__))]
    same = [
        *("--folder", str(given.folder), "--data", given.data),
        *("--vectors", str(given.vectors), "--queries", str(given.queries)),
    ]
    found = compare(
        {name: [*command, "--tool", name, *same] for name in TOOLS},
        equal=lambda checks: equal(folder, checks),
        at_least={"numpy": 5.0},
        rounds=given.rounds,
    )
    about = {"vectors": given.vectors, "queries": given.queries, "dimensions": DIMENSIONS, "data": given.data}
    built = json.loads((folder / "index.json").read_text())
    print(save({"machine": machine(), "about": about, "index": built, "similar": found}, HERE, "similar"))
    print(json.dumps({"times_faster": found["times_faster"], "outputs": found["outputs"], **built}, indent=1))


def prepare(folder: Path, vectors: int, queries: int, data: str) -> None:
    """Make the vectors once."""
    import numpy as np

    if (folder / "queries.npy").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(SEED)
    first = generator.normal(size=(LATENT, 128)).astype("f4") / np.sqrt(LATENT)
    second = generator.normal(size=(128, DIMENSIONS)).astype("f4") / np.sqrt(128)
    centres = generator.normal(size=(CENTRES, LATENT)).astype("f4")

    def draw(count: int) -> Any:
        if data == "uniform":
            return generator.standard_normal((count, DIMENSIONS), dtype="f4")
        latent = centres[generator.integers(CENTRES, size=count)]
        latent = latent + generator.standard_normal(latent.shape, dtype="f4")
        clean = np.tanh(latent @ first) @ second
        return clean + 0.1 * clean.std() * generator.standard_normal(clean.shape, dtype="f4")

    stored = np.lib.format.open_memmap(folder / "vectors.npy", "w+", "f4", (vectors, DIMENSIONS))
    for start in range(0, vectors, 50_000):
        stop = min(vectors, start + 50_000)
        stored[start:stop] = draw(stop - start)
    stored.flush()
    np.save(folder / "queries.npy", draw(queries))


def build(folder: Path) -> None:
    """Make the index once and note what it cost."""
    if (folder / "index.json").exists():
        return
    import numpy as np

    from voxlake.learning.tables.nearest import build_index

    values = np.load(folder / "vectors.npy")
    start = time.perf_counter()
    index = build_index(values, recall=RECALL, seed=1)
    seconds = time.perf_counter() - start
    data = index.to_bytes()
    (folder / "index.faiss").write_bytes(data)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    facts = {**index.facts(), "build_seconds": seconds, "bytes": len(data), "most_memory_bytes": most}
    (folder / "index.json").write_text(json.dumps(facts))


def voxlake(folder: Path) -> dict[str, Any]:
    import faiss
    import numpy as np

    from voxlake.learning.tables.nearest import index_from_bytes

    facts = json.loads((folder / "index.json").read_text())
    named = {name: facts[name] for name in ("metric", "lists", "probes", "recall")}
    index = index_from_bytes((folder / "index.faiss").read_bytes(), **named)
    queries = np.load(folder / "queries.npy")
    index.search(queries[:20], NEIGHBOURS)
    start, busy = time.perf_counter(), time.process_time()
    positions, _ = index.search(queries, NEIGHBOURS)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    np.save(folder / "voxlake.npy", positions)
    said = f"faiss {faiss.__version__}, {facts['lists']} lists, {facts['probes']} looked into"
    return {"seconds": seconds, "cpu_seconds": busy, "check": len(positions), "tool": said}


def numpy(folder: Path) -> dict[str, Any]:
    import numpy as np

    values, queries = np.load(folder / "vectors.npy"), np.load(folder / "queries.npy")
    halves = 0.5 * np.einsum("ij,ij->i", values, values)

    def search(asked: Any, block: int) -> Any:
        found = np.empty((len(asked), NEIGHBOURS), dtype=np.int64)
        for start in range(0, len(asked), block):
            part = asked[start : start + block]
            # Half the squared distance less what is the same for all vectors of one query.
            score = part @ values.T
            np.subtract(halves, score, out=score)
            near = np.argpartition(score, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
            order = np.argsort(np.take_along_axis(score, near, 1), axis=1)
            found[start : start + block] = np.take_along_axis(near, order, 1)
        return found

    def tried(block: int) -> float:
        start = time.perf_counter()
        search(queries[:64], block)
        return time.perf_counter() - start

    search(queries[:16], 16)
    best = min((8, 16, 32, 64), key=tried)
    start, busy = time.perf_counter(), time.process_time()
    positions = search(queries, best)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    np.save(folder / "numpy.npy", positions)
    return {
        "seconds": seconds,
        "cpu_seconds": busy,
        "check": len(positions),
        "tool": f"numpy {np.__version__}, blocks of {best} queries",
    }


TOOLS = {"voxlake": voxlake, "numpy": numpy}


def equal(folder: Path, checks: Mapping[str, Any]) -> str:
    """Share of NumPy's answer that is found."""
    import numpy as np

    ours, theirs = np.load(folder / "voxlake.npy"), np.load(folder / "numpy.npy")
    recall = float(np.mean([np.isin(theirs[row], ours[row]).mean() for row in range(len(theirs))]))
    if recall < RECALL:
        raise RuntimeError(f"recall {recall:.4f} is below {RECALL}")
    return f"recall {recall:.4f} over {checks['numpy']} queries"


if __name__ == "__main__":
    main()
