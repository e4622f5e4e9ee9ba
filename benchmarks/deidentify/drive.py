"""One tool over one folder of files, in one process: python drive.py TOOL INPUT OUTPUT [RECIPE]

Prints one line of JSON: seconds of the loop, files, version. One file is done before the clock starts, so
that imports and tables do not count.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

Tool = Callable[[Path, Path], None]
DISTRIBUTIONS = {"dicom_anonymizer": "dicom-anonymizer", "deid_recipe": "deid"}


def voxlake(_: str) -> Tool:
    from voxlake.privacy.deidentify import deidentify
    from voxlake.privacy.policy import load_policy
    from voxlake.privacy.pseudonyms import Pseudonymiser
    from voxlake.store.keys import LakeKey

    policy, pseudonymiser = load_policy("basic"), Pseudonymiser(LakeKey.generate())

    def work(source: Path, target: Path) -> None:
        target.write_bytes(deidentify(source.read_bytes(), policy, pseudonymiser).data)

    return work


def dicognito(_: str) -> Tool:
    import pydicom
    from dicognito.anonymizer import Anonymizer

    anonymizer = Anonymizer(seed="benchmark")

    def work(source: Path, target: Path) -> None:
        with pydicom.dcmread(source) as dataset:
            anonymizer.anonymize(dataset)
            dataset.save_as(target)

    return work


def dicom_anonymizer(_: str) -> Tool:
    from dicomanonymizer.simpledicomanonymizer import anonymize_dicom_file, initialize_actions

    def rules() -> dict:
        return initialize_actions("dicomfields_2026c")

    def work(source: Path, target: Path) -> None:
        anonymize_dicom_file(str(source), str(target), delete_private_tags=True, base_rules_gen=rules)

    return work


def deid(_: str) -> Tool:
    return with_recipe("dicom")


def deid_recipe(path: str) -> Tool:
    return with_recipe(path)


def with_recipe(name: str) -> Tool:
    from deid.config import DeidRecipe
    from deid.dicom import replace_identifiers

    recipe = DeidRecipe(deid=name)

    def work(source: Path, target: Path) -> None:
        (dataset,) = replace_identifiers(
            dicom_files=[str(source)], deid=recipe, save=False, strip_sequences=False, remove_private=True
        )
        dataset.save_as(target)

    return work


def main() -> None:
    name, source, target, *rest = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    tool: Tool = globals()[name](rest[0] if rest else "")
    files = sorted(Path(source).glob("*.dcm"))
    output = Path(target)
    tool(files[0], output / files[0].name)
    start = time.perf_counter()
    for path in files:
        tool(path, output / path.name)
    seconds = time.perf_counter() - start
    stated = version(DISTRIBUTIONS.get(name, name))
    print(json.dumps({"seconds": seconds, "files": len(files), "version": stated}))


if __name__ == "__main__":
    main()
