"""Our table of PS3.15 E.1-1 against that of dicom-anonymizer: python compare_table.py OUR_TABLE.json"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector

CODES = {
    "D_TAGS": "D",
    "Z_TAGS": "Z",
    "X_TAGS": "X",
    "U_TAGS": "U",
    "Z_D_TAGS": "Z/D",
    "X_Z_TAGS": "X/Z",
    "X_D_TAGS": "X/D",
    "X_Z_D_TAGS": "X/Z/D",
    "X_Z_U_STAR_TAGS": "X/Z/U*",
}


def tag_of(tag: tuple[int, ...]) -> str:
    if len(tag) == 2:
        return f"{tag[0]:04x}{tag[1]:04x}"
    group = "".join(
        "x" if mask == "0" else digit for digit, mask in zip(f"{tag[0]:04x}", f"{tag[2]:04x}", strict=True)
    )
    element = "".join(
        "x" if mask == "0" else digit for digit, mask in zip(f"{tag[1]:04x}", f"{tag[3]:04x}", strict=True)
    )
    return group + element


def main() -> None:
    table = json.loads(Path(sys.argv[1]).read_text())
    ours = {tag: basic for tag, _, basic, _ in table["rows"]}
    database = dicom_anonymization_database_selector("dicomfields_2026c")
    theirs = {tag_of(tag): code for name, code in CODES.items() for tag in database[name]}
    shared = set(ours) & set(theirs)
    print(
        json.dumps(
            {
                "rows_ours": len(ours),
                "rows_theirs": len(theirs),
                "equal": sum(ours[tag] == theirs[tag] for tag in shared),
                "different": {
                    tag: [ours[tag], theirs[tag]] for tag in sorted(shared) if ours[tag] != theirs[tag]
                },
                "only_ours": sorted(set(ours) - set(theirs)),
                "only_theirs": sorted(set(theirs) - set(ours)),
            }
        )
    )


if __name__ == "__main__":
    main()
