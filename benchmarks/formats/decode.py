"""Decode compressed CT-like files: voxlake against pydicom with the plugins of pylibjpeg.

    python benchmarks/formats/decode.py --peers PYTHON [--rounds 5]

50 files of 512 x 512, 12 bits in 16, for each codec; both tools read each file, decode it and keep the array,
in one process with one thread. `pyjpegls` is measured beside, because pydicom documents it for JPEG-LS too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent)]

from decode_files import CODECS, write_series  # noqa: E402 - found beside this file
from harness import compare, machine, save  # noqa: E402

AIM = 1.5
PLUGINS = {"htj2k": ["pylibjpeg"], "jpeg-ls": ["pylibjpeg", "pyjpegls"], "jpeg-lossless": ["pylibjpeg"]}
PLUGINS["rle"] = ["pylibjpeg"]


def same_values(found: Mapping[str, Any]) -> str:
    """The digests over all values must be one."""
    if len(set(found.values())) != 1:
        raise RuntimeError(f"the outputs differ: {found}")
    return f"all values equal, SHA-256 {next(iter(found.values()))[:16]}"


def main() -> None:
    """Measure each codec and save the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", required=True, help="Python with pydicom and pylibjpeg")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    results: dict[str, Any] = {"machine": machine(), "codecs": {}}
    driver = str(FOLDER / "decode_drive.py")
    with tempfile.TemporaryDirectory() as folder:
        for codec in CODECS:
            series = Path(folder) / codec
            write_series(codec, series)
            tools = {"voxlake": [sys.executable, driver, "voxlake", str(series)]}
            for plugin in PLUGINS[codec]:
                tools[f"pydicom with {plugin}"] = [options.peers, driver, plugin, str(series)]
            found = compare(
                tools, equal=same_values, at_least={"pydicom with pylibjpeg": AIM}, rounds=options.rounds
            )
            results["codecs"][codec] = found
            print(codec, found["times_faster"], found["outputs"])
    print(save(results, FOLDER, "decode"))


if __name__ == "__main__":
    main()
