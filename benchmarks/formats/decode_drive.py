"""One tool of `decode.py`: ``decode_drive.py voxlake|PLUGIN FOLDER`` decodes all files."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np


def voxlake() -> tuple[Callable[[Path], np.ndarray], str]:
    """The reader that voxlake uses."""
    from voxlake.dicom.decode_file import decode_file

    return lambda path: decode_file(path.read_bytes())[0], f"imagecodecs {version('imagecodecs')}"


def pydicom(plugin: str) -> tuple[Callable[[Path], np.ndarray], str]:
    """pydicom with one plugin, named so that none is tried in vain."""
    from pydicom import dcmread

    def read(path: Path) -> np.ndarray:
        dataset = dcmread(path)
        dataset.pixel_array_options(decoding_plugin=plugin)
        return dataset.pixel_array

    return read, f"pydicom {version('pydicom')}"


def main() -> None:
    """Decode once for the imports of plugins, then measure."""
    tool, folder = sys.argv[1:3]
    read, stated = voxlake() if tool == "voxlake" else pydicom(tool)
    paths = sorted(Path(folder).iterdir())
    read(paths[0])
    start = time.perf_counter()
    frames = [read(path) for path in paths]
    seconds = time.perf_counter() - start
    check = sha256(np.stack(frames).astype("<i4").tobytes()).hexdigest()
    print(json.dumps({"seconds": seconds, "check": check, "version": stated, "files": len(frames)}))


if __name__ == "__main__":
    main()
