"""Write the table of attribute confidentiality profiles that voxlake.privacy applies.

Usage::

    python scripts/make_profile_table.py TABLE_2024B.json ADDITIONS_2026D.csv

The first file transcribes DICOM PS3.15 Table E.1-1 of edition 2024b, the second what edition 2026d adds
or changes. The result carries the edition of the second. The digest that is printed at the end belongs
into `voxlake.privacy.profile`, which refuses a table with any other digest.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from pathlib import Path

EDITION = "2026d"
SOURCE = "DICOM PS3.15 Table E.1-1, Application Level Confidentiality Profile Attributes"
TARGET = Path(__file__).parents[1] / "src" / "voxlake" / "privacy" / f"table_e1_1_{EDITION}.json"
OPTIONS = {
    "rtnSafePrivOpt": "retain_safe_private",
    "rtnUIDsOpt": "retain_uids",
    "rtnDevIdOpt": "retain_device_identity",
    "rtnInstIdOpt": "retain_institution_identity",
    "rtnPatCharsOpt": "retain_patient_characteristics",
    "rtnLongFullDatesOpt": "retain_longitudinal_full_dates",
    "rtnLongModifDatesOpt": "retain_longitudinal_modified_dates",
    "cleanDescOpt": "clean_descriptors",
    "cleanStructContOpt": "clean_structured_content",
    "cleanGraphOpt": "clean_graphics",
}

Row = tuple[str, str, str, dict[str, str]]


def plain_tag(text: str) -> str:
    """Bring ``(0008,0050)``, ``(50xx,xxxx)`` and the rule for private groups to one short form."""
    if "odd" in text.lower():
        return "private"
    return text.strip("()").replace(",", "").lower()


def base_rows(path: Path) -> dict[str, Row]:
    """Rows of the complete older edition."""
    rows = {}
    for entry in json.loads(path.read_text(encoding="utf-8")):
        tag = plain_tag(entry["tag"])
        options = {OPTIONS[key]: value for key, value in entry.items() if key in OPTIONS}
        rows[tag] = (tag, entry["name"], entry["basicProfile"], options)
    return rows


def added_rows(path: Path) -> dict[str, Row]:
    """Rows that the newer edition adds or changes."""
    rows = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for entry in csv.DictReader(stream):
            tag = plain_tag(entry["tag"])
            options = dict(part.split("=") for part in entry["options"].split(";") if part)
            unknown = set(options) - set(OPTIONS.values())
            if unknown:
                raise SystemExit(f"{entry['tag']}: unknown options {sorted(unknown)}")
            rows[tag] = (tag, entry["name"], entry["basic_profile"], options)
    return rows


def main() -> None:
    """Merge both files and write the table, one row a line."""
    base, additions = (Path(argument) for argument in sys.argv[1:3])
    rows = base_rows(base) | added_rows(additions)
    lines = [
        json.dumps([tag, name, basic, dict(sorted(options.items()))])
        for tag, name, basic, options in sorted(rows.values())
    ]
    head = {"source": SOURCE, "edition": EDITION, "columns": ["tag", "name", "basic_profile", "options"]}
    opening = [f"{json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    text = "\n".join(["{", *opening, '"rows": [', ",\n".join(lines), "]", "}"]) + "\n"
    TARGET.write_text(text, encoding="utf-8")
    print(f"{TARGET.name}: {len(rows)} rows, sha256 {hashlib.sha256(text.encode()).hexdigest()}")


if __name__ == "__main__":
    main()
