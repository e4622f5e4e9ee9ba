"""Ingest small instances in place, up to a million: python million.py [--instances 1000000]

Does the rate stay, and does the memory? The files are written in portions of 50,000, each of which is one
run of ingest; the lake grows from one portion to the next. What is compared is the rate of the last portion
with that of the first.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

sys.path.append(str(Path(__file__).parents[1]))
from harness import machine, save

from voxlake.engine.open import open_engine
from voxlake.lake.ingest import ingest
from voxlake.lake.lake import Lake, open_lake

HERE = Path(__file__).parent
ROOT = "1.2.826.0.1.3680043.9.7777.5"
SLICES, PROCESSES = 100, 2
# Stands in a template where the number of the slice goes; six digits, so that no length changes.
_MARK = "777777"


def main() -> None:
    arguments = parser().parse_args()
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    # Caches of the lake lie in the home folder of this process.
    os.environ["HOME"] = str(folder)
    try:
        measured = in_portions(folder, arguments.instances, arguments.portion)
    finally:
        shutil.rmtree(folder)
    rates = [one["per_second"] for one in measured]
    results = {
        "machine": machine(),
        "portions": measured,
        "last_to_first": round(rates[-1] / rates[0], 3),
        "memory_last_to_first": round(measured[-1]["driver_mib"] / measured[0]["driver_mib"], 3),
        "aim": {"last_to_first": 0.9},
    }
    print(results["last_to_first"], results["memory_last_to_first"])
    print(f"raw numbers: {save(results, HERE, arguments.name)}")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--instances", type=int, default=1_000_000)
    made.add_argument("--portion", type=int, default=50_000)
    made.add_argument("--folder", type=Path, help="where the files go; 1.5 kB each")
    made.add_argument("--name", default="million")
    return made


def in_portions(folder: Path, instances: int, portion: int) -> list[dict[str, Any]]:
    """Ingest portion after portion, each in a run of its own, with the same workers."""
    lake = open_lake(folder / "lake", key=folder / "key", policy="none")
    measured = []
    with open_engine(f"processes:{PROCESSES}") as engine:
        for number in range(instances // portion):
            source = folder / f"portion_{number:03d}"
            write_portion(source, number, portion)
            start, cpu = time.perf_counter(), time.process_time()
            run = ingest(lake, source, in_place=True, engine=engine, progress=False)
            seconds = time.perf_counter() - start
            if run.counts["stored"] != portion:
                raise RuntimeError(f"{run.counts} of {portion} were stored")
            measured.append(told(portion, seconds, time.process_time() - cpu, lake))
            print(number, measured[-1], flush=True)
    return measured


def told(instances: int, seconds: float, cpu: float, lake: Lake) -> dict[str, Any]:
    """One line of the curve."""
    return {
        "instances": instances,
        "seconds": round(seconds, 3),
        "per_second": round(instances / seconds, 1),
        "driver_cpu_seconds": round(cpu, 3),
        "driver_mib": rss(),
        "driver_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "versions_of_instances": lake.tables.version("instances"),
    }


def rss() -> float:
    """Resident memory of this process, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def write_portion(folder: Path, number: int, portion: int) -> None:
    """Write small CT slices, a folder for each series of 100; bytes are put together, not encoded anew."""
    start = number * (portion // SLICES)
    for series in range(start, start + portion // SLICES):
        target = folder / f"series_{series:06d}"
        target.mkdir(parents=True)
        template = slice_bytes(series, _MARK)
        for place in range(SLICES):
            data = template.replace(_MARK.encode(), f"{place:06d}".encode())
            (target / f"{place:04d}.dcm").write_bytes(data)


def slice_bytes(series: int, place: str) -> bytes:
    """Make one slice of 8 x 8 pixels, whose number stands in the UID, the number and the position."""
    from io import BytesIO

    dataset = Dataset()
    dataset.SOPClassUID, dataset.Modality = CTImageStorage, "CT"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = (
        f"{ROOT}.{series // 2}",
        f"{ROOT}.{series // 2}.{series}",
    )
    dataset.SOPInstanceUID = f"{dataset.SeriesInstanceUID}.1{place}"
    dataset.PatientID, dataset.PatientName = f"P{series // 4:06d}", f"Patient^Number{series // 4}"
    dataset.StudyDate, dataset.BodyPartExamined = "20200101", ("CHEST", "ABDOMEN", "HEAD")[series % 3]
    dataset.Manufacturer, dataset.SeriesDescription = "VOXLAKE", f"synthetic {series % 7}"
    dataset.FrameOfReferenceUID, dataset.SeriesNumber = f"{ROOT}.{series // 2}.9", series
    dataset.InstanceNumber = place
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient = ["0", "0", place]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [1, 1], 1
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.KVP = 1, -1024, 120
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.add_new(0x7FE00010, "OW", bytes(128))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


if __name__ == "__main__":
    main()
