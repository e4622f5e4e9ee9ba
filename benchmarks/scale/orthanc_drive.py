"""Bring a folder into Orthanc by STOW-RS: python orthanc_drive.py INPUT OUTPUT

Starts Orthanc with its DICOMweb plug-in and a configuration of its own in the output folder, sends all files
in large multipart requests from several connections at a time, asks Orthanc how many instances it has, and
stops it. Prints one line of JSON as `ingest_drive.py` does; bodies are built while others are sent.
"""

from __future__ import annotations

import http.client
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

PLUGINS = ("/usr/share/orthanc/plugins", "/usr/lib/orthanc")
BATCH, SENDERS, HTTP_THREADS = 50, 4, 8
BOUNDARY = "voxlake-benchmark-0f3b9c"
STARTED, STOPPED = 60.0, 60.0


def main() -> None:
    source, output = Path(sys.argv[1]), Path(sys.argv[2])
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    process, port = start(output)
    try:
        files = sorted(source.rglob("*.dcm"))
        began = time.perf_counter()
        groups = [files[place : place + BATCH] for place in range(0, len(files), BATCH)]
        with ThreadPoolExecutor(SENDERS) as pool:
            list(pool.map(lambda group: send(port, group), groups))
        seconds = time.perf_counter() - began
        found = get(port, "/statistics")
        server_cpu = cpu_of(process.pid)
        version = get(port, "/system")["Version"]
    finally:
        process.terminate()
        process.wait(STOPPED)
    own = resource.getrusage(resource.RUSAGE_SELF)
    shutil.rmtree(output)
    check = {"files": int(found["CountInstances"]), "bytes": int(found["TotalUncompressedSize"])}
    stated = {"server_cpu": server_cpu, "sender_cpu": own.ru_utime + own.ru_stime, "version": version}
    print(json.dumps({"seconds": seconds, "check": check, **stated}))


def start(output: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start Orthanc as its book says for speed: nothing compressed, no sync of SQLite, no jobs kept."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    settings = {
        "Name": "benchmark",
        "StorageDirectory": str(output / "storage"),
        "IndexDirectory": str(output / "index"),
        "StorageCompression": False,
        "MaximumStorageCacheSize": 0,
        "OverwriteInstances": False,
        # Neither fsync of files nor "PRAGMA SYNCHRONOUS" of the index at every instance.
        "SyncStorageArea": False,
        "StoreMD5ForAttachments": False,
        "SaveJobs": False,
        "CheckRevisions": False,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "HttpPort": port,
        "HttpThreadsCount": HTTP_THREADS,
        "KeepAlive": True,
        "TcpNoDelay": True,
        "Plugins": [folder for folder in PLUGINS if Path(folder).exists()],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (output / "orthanc.json").write_text(json.dumps(settings))
    process = subprocess.Popen(
        ["Orthanc", str(output / "orthanc.json")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + STARTED
    while True:
        try:
            get(port, "/dicom-web/studies")
        except (OSError, RuntimeError):
            if time.monotonic() > deadline or process.poll() is not None:
                process.kill()
                raise
            time.sleep(0.2)
        else:
            return process, port


def send(port: int, group: list[Path]) -> None:
    """Store files by one STOW-RS request (PS3.18 10.5)."""
    parts = []
    for path in group:
        parts += [
            f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode(),
            path.read_bytes(),
            b"\r\n",
        ]
    body = b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])
    kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
    headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("POST", "/dicom-web/studies", body, headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status != http.client.OK:
        raise RuntimeError(f"STOW-RS answered {answer.status}: {text[:300]!r}")


def get(port: int, path: str) -> Any:
    """Ask Orthanc."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status != http.client.OK:
        raise RuntimeError(f"{path} answered {answer.status}")
    return json.loads(text)


def cpu_of(number: int) -> float:
    """CPU seconds of a process."""
    fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
