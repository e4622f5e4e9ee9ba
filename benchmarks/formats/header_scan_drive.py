"""Read the headers of a folder with one tool; prints one line of JSON. Runs where that tool is installed."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

Read = Callable[[str], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tool", choices=("voxlake", "voxlake_without_memory", "pydicom", "pydicom_specific"))
    parser.add_argument("task", choices=("values", "tags"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("columns", type=Path, help="JSON: [column, keyword, kind] of every value")
    arguments = parser.parse_args()
    columns = json.loads(arguments.columns.read_text())
    files = [str(path) for path in sorted(arguments.folder.iterdir())]
    read, plain = _tool(arguments.tool, arguments.task, columns)
    # What is imported and built at the first call only.
    read(files[0])
    start = time.perf_counter()
    found = [read(path) for path in files]
    seconds = time.perf_counter() - start
    texts = [json.dumps(plain(result), sort_keys=True) for result in found]
    check = {"files": len(texts), "sha256": sha256("\n".join(texts).encode()).hexdigest()}
    print(json.dumps({"seconds": seconds, "check": check, "characters": len(texts[0])}))


def _tool(tool: str, task: str, columns: list[list[str]]) -> tuple[Read, Callable[[Any], Any]]:
    if tool.startswith("voxlake"):
        return _voxlake(task, [column for column, _, _ in columns], remembers=tool == "voxlake")
    from pydicom import dcmread

    keywords = [keyword for _, keyword, _ in columns]
    only = {"specific_tags": keywords} if tool == "pydicom_specific" else {}

    def values(path: str) -> list[Any]:
        dataset = dcmread(path, stop_before_pixels=True, **only)
        return [dataset.get(keyword) for keyword in keywords]

    def tags(path: str) -> str:
        return json.dumps(dcmread(path, stop_before_pixels=True).to_json_dict())

    if task == "tags":
        return tags, json.loads
    kinds = [kind for _, _, kind in columns]
    return values, lambda found: [_plain(value, kind) for value, kind in zip(found, kinds, strict=True)]


def _voxlake(task: str, names: list[str], *, remembers: bool) -> tuple[Read, Callable[[Any], Any]]:
    from voxlake.dicom.header import Scanner, scan_file

    scan = partial(Scanner().scan_file if remembers else scan_file, tags=task == "tags")

    def values(path: str) -> list[Any]:
        row = scan(path)
        return [row[name] for name in names]

    def tags(path: str) -> str:
        text: str = scan(path)["tags"]
        return text

    def without_pixels(text: str) -> Any:
        return {tag: element for tag, element in json.loads(text).items() if tag < "7FE00008"}

    return (values, lambda found: found) if task == "values" else (tags, without_pixels)


def _plain(value: Any, kind: str) -> Any:
    """What pydicom gives, as numbers and texts: not part of what is measured."""
    several = list(value) if isinstance(value, list) or hasattr(value, "append") else [value]
    if value is None or value == "":
        return None
    convert: Callable[[Any], Any] = {"text": str, "whole": int, "number": float}.get(kind.rstrip("s"), str)
    return [convert(each) for each in several] if kind.endswith("s") else convert(several[0])


if __name__ == "__main__":
    main()
