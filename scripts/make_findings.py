"""Write the pages of the rules, ``docs/findings/*.md``, from the registry of rules.

python scripts/make_findings.py            write what has changed
python scripts/make_findings.py --check    exit with 1 if anything would change
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from voxlake.lake.quality.registry import RULES
from voxlake.lake.quality.rule import Rule

FOLDER = Path(__file__).parents[1] / "docs" / "findings"
_NOTE = "<!-- Written by scripts/make_findings.py; change the rule, not this page. -->"
_MEANING = {
    "error": "do not use without mending",
    "warning": "look first",
    "info": "good to know",
}
_BEGIN, _END = "<!-- rules -->", "<!-- end of rules -->"


def main(arguments: list[str]) -> int:
    """Write the pages, or check them; returns the exit status."""
    check = "--check" in arguments
    wanted = pages()
    old = [path for path, text in wanted.items() if not path.is_file() or path.read_text("utf-8") != text]
    gone = [path for path in FOLDER.glob("*.md") if path not in wanted]
    for path in (*old, *gone):
        print("out of date:" if check else "written:", path.name)
    if not check:
        for path in old:
            path.write_text(wanted[path], "utf-8")
        for path in gone:
            path.unlink()
    return 1 if check and (old or gone) else 0


def pages() -> Mapping[Path, str]:
    """Every page with the text that it should have."""
    index = FOLDER / "index.md"
    text = index.read_text("utf-8")
    before, rest = text.split(_BEGIN)
    after = rest.split(_END)[1]
    return {
        index: f"{before}{_BEGIN}\n\n{_table()}\n\n{_END}{after}",
        **{FOLDER / f"{rule.id}.md": _page(rule) for rule in RULES.values()},
    }


def _table() -> str:
    lines = ["| rule | severity | about | what it finds |", "| --- | --- | --- | --- |"]
    lines += [
        f"| [{rule.id}]({rule.id}.md) | {rule.severity} | {rule.level} | {rule.title} |"
        for rule in RULES.values()
    ]
    return "\n".join(lines)


def _page(rule: Rule) -> str:
    look = f"select subject_level, subject, value, detail from findings where rule = '{rule.id}'"
    block = f'```sh\nvoxlake sql "{look}"\nvoxlake select clean --exclude {rule.id}\n```'
    parts = [
        f"# {rule.id}",
        _NOTE,
        f"**{rule.title}.** Severity: {rule.severity} ({_MEANING[rule.severity]}). About: {rule.level}.",
        f"## Why it matters\n\n{rule.why}",
        f"## How it is measured\n\n{rule.how}",
        f"## What to do\n\n{rule.advice}",
        *([rule.notes.strip()] if rule.notes else []),
        "## Look at what was found",
        f"<!-- no-run: needs a lake with data of your own -->\n{block}",
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
