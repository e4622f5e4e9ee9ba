"""4,000 CT files of 0.5 MB, as a scanner writes them: python ct_files.py FOLDER [COUNT]

Patients, studies and series differ, and so do the pixels of every slice. Values are made up; the elements are
those of `benchmarks/deidentify/synthetic.py`, some 110 of them with nested and private ones.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "deidentify"))
from synthetic import ROOT, ct

__all__ = ["make_files"]

_SIDE, _BLOCKS = 512, 16


def make_files(folder: Path, count: int, *, slices: int = 100) -> None:
    """Write `count` files, a folder for each series, two series to a patient."""
    draw = np.random.default_rng(7)
    noise = draw.integers(-20, 20, (_BLOCKS, _SIDE, _SIDE), dtype=np.int16)
    disc = np.hypot(*np.ogrid[-256:256, -256:256]) < 200
    blocks = (noise + np.where(disc, 1064, 24)).astype("<u2")
    for number in range(count):
        series, place = divmod(number, slices)
        target = folder / f"series_{series:03d}" / f"ct_{place:04d}.dcm"
        target.parent.mkdir(parents=True, exist_ok=True)
        pixels = blocks[number % _BLOCKS].copy()
        # What tells one slice from all others, as its noise does in a real one.
        pixels[0, :2] = divmod(number, 4096)
        dataset = ct(place, pixels.tobytes())
        patient = series // 2
        dataset.PatientID, dataset.PatientName = f"MRN{48211937 + patient}", f"Kowalczyk^Nr{patient}"
        study = f"{ROOT}.{patient + 1}"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, f"{study}.{series + 1}"
        dataset.FrameOfReferenceUID = f"{study}.9"
        dataset.SOPInstanceUID = f"{study}.{series + 1}.{place + 1}"
        dataset.SeriesNumber = series + 1
        dataset.save_as(target, enforce_file_format=True)


if __name__ == "__main__":
    make_files(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 4000)
