"""Write the reference pages under ``docs/reference`` (and two lists in the how-tos) from the code.

    python scripts/make_reference.py            write what has changed
    python scripts/make_reference.py --check    exit with 1 if anything would change

Nothing is written twice: tables come from the schema, reasons from their list, commands from the signatures
of the verbs, steps and settings from their classes.
"""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic_core import PydanticUndefined

import voxlake
from voxlake.cli.command import command_of
from voxlake.core.reasons import REASONS
from voxlake.core.settings import Settings
from voxlake.lake.views import VIEWS
from voxlake.learning.settings import AugmentationSettings, SplitSettings, TrainingSettings
from voxlake.learning.task import Task
from voxlake.networks.registry import NETWORKS
from voxlake.privacy.own_rule import OwnRule
from voxlake.privacy.pixels import Waiver
from voxlake.privacy.policy import OPTION_CODES, PRESETS, Policy
from voxlake.processing.registry import STEPS, plan_names
from voxlake.sources.mapping_rules import MappingSettings, RuleSettings
from voxlake.sources.phantoms import Phantoms
from voxlake.store.schema import TABLES
from voxlake.verbs import VERBS, Verb

DOCS = Path(__file__).parents[1] / "docs"
_NOTE = "<!-- Written by scripts/make_reference.py; change the code, not this page. -->"
_PARAMETER = r"(?m)^(\*?\w[\w, *]*?) ?:[^\n]*\n((?:[ ]{4}[^\n]*\n?|\n)+)"
_SHARED = ("lake", "key", "json", "strict", "format", "output")


def main(arguments: list[str]) -> int:
    """Write the pages, or check them; returns the exit status."""
    check = "--check" in arguments
    have = {path: path.read_text("utf-8") if path.is_file() else "" for path in pages()}
    old = {path: text for path, text in pages().items() if have[path] != text}
    for path, text in old.items():
        print("out of date:" if check else "written:", path.relative_to(DOCS.parent))
        if not check:
            path.write_text(text, "utf-8")
    return 1 if old and check else 0


def pages() -> Mapping[Path, str]:
    """Every generated page with the text that it should have."""
    reference = {
        "tables": _tables(),
        "reasons": _reasons(),
        "commands": _commands(),
        "steps": _steps(),
        "settings": _settings_page(),
        "python": _python(),
    }
    found = {DOCS / "reference" / f"{name}.md": _page(body) for name, body in reference.items()}
    steps = DOCS / "how-to" / "write-a-plan.md"
    found[steps] = _between(steps.read_text("utf-8"), "steps", "\n".join(_step_list()))
    return found


def _page(lines: Iterator[str]) -> str:
    title, *rest = lines
    return "\n".join([title, "", _NOTE, *rest]).rstrip() + "\n"


def _between(text: str, name: str, body: str) -> str:
    start, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"the markers {start} and {end} are missing")
    return f"{before}{start}\n\n{body}\n\n{end}{after}"


def _tables() -> Iterator[str]:
    yield from (
        "# Tables",
        "",
        "Every stage of the lake is a table; `voxlake sql` reads them. They are Delta Lake tables under",
        "`tables/`. Two writers may append the same key; SQL shows one row of it: the first that was",
        "committed, or the last where a row describes something that grows. The column *DICOM* names the",
        "element that a value is read from (PS3.6). Names that SQL keeps for itself (`array`, `offset`,",
        "`group`, `class`) need double quotes in a query.",
    )
    for table in TABLES.values():
        keys = ", ".join(f"`{name}`" for name in table.key)
        shown = "first committed" if table.keep == "first" else "last committed"
        yield from (
            "",
            f"## {table.name}",
            "",
            table.description,
            "",
            f"Key: {keys}. SQL shows the {shown} row.",
        )
        yield from ("", "| column | type | description | DICOM | unit |", "| --- | --- | --- | --- | --- |")
        for column in table.columns:
            tag = f"`{column.tag}`" if column.tag else ""
            cells = (f"`{column.name}`", _arrow(column.type), column.description, tag, column.unit)
            yield f"| {' | '.join(map(_cell, cells))} |"
    yield from ("", "## Views", "", "| view | made of |", "| --- | --- |")
    for name, sql in VIEWS.items():
        yield f"| `{name}` | {_cell('`' + ' '.join(sql.split()) + '`')} |"
    yield "| `cohort_<name>` | `series` of the newest version of a cohort; `-` in its name becomes `_` |"


def _arrow(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"list of {_arrow(kind.value_type)}"
    words = {"string": "text", "double": "real", "int64": "whole", "bool": "yes or no"}
    return words.get(str(kind), "time (UTC)" if pa.types.is_timestamp(kind) else str(kind))


def _reasons() -> Iterator[str]:
    yield from (
        "# Reason codes",
        "",
        "Why an item was quarantined, rejected, ignored or failed: the column `reason` of the tables",
        "`items` and `quarantine`.",
        "",
        "| code | meaning |",
        "| --- | --- |",
    )
    yield from (f"| `{code}` | {_cell(meaning)} |" for code, meaning in REASONS.items())


def _commands() -> Iterator[str]:
    yield from (
        "# Commands",
        "",
        "Each command is a Python function of the same name (`voxlake quarantine list` is",
        "`voxlake.quarantine_list`). `voxlake COMMAND --help` says the same as this page.",
        "",
        "Exit status: 0 done (items may have failed, and are counted), 1 the run failed, 2 wrong usage,",
        "130 stopped by Ctrl-C. Summaries go to stderr; rows and `--json` go to stdout.",
        "",
        "Shared options:",
        "",
        "| option | meaning |",
        "| --- | --- |",
    )
    shared: dict[str, str] = {}
    for verb in VERBS:
        for parameter in inspect.signature(_command(verb)).parameters.values():
            if parameter.name in _SHARED and _is_shared(parameter):
                shared.setdefault(*_shared_option(parameter))
    yield from (f"| {option} | {_cell(about)} |" for option, about in shared.items())
    for verb in VERBS:
        yield from _one_command(verb)


def _command(verb: Verb) -> Callable[..., int]:
    return command_of(verb, getattr(import_module(verb.module), verb.function))


def _is_shared(parameter: inspect.Parameter) -> bool:
    settings = _cyclopts(parameter)
    return getattr(settings, "group", None) not in (None, ()) and bool(settings.help)


def _cyclopts(parameter: inspect.Parameter) -> Any:
    return next(iter(getattr(parameter.annotation, "__metadata__", ())), None)


def _shared_option(parameter: inspect.Parameter) -> tuple[str, str]:
    settings = _cyclopts(parameter)
    variables = settings.env_var or ()
    names = (variables,) if isinstance(variables, str) else variables
    default = f" Default: `{parameter.default}`." if isinstance(parameter.default, str) else ""
    environment = f" Environment: `{', '.join(names)}`." if names else ""
    return f"`{_option(parameter)}`", f"{settings.help}{default}{environment}"


def _one_command(verb: Verb) -> Iterator[str]:
    function = getattr(import_module(verb.module), verb.function)
    document = _numpydoc(function)
    yield from ("", f"## {verb.command}", "", verb.summary)
    yield from ("", document["about"]) if document["about"] else ()
    yield from (
        "",
        "<!-- no-run: an example by itself; the tutorials run the command -->",
        "```sh",
        verb.example,
        "```",
    )
    rows = []
    for parameter in inspect.signature(_command(verb)).parameters.values():
        if parameter.name in _SHARED and _is_shared(parameter):
            continue
        settings = _cyclopts(parameter)
        about = document["parameters"].get(parameter.name, "") or getattr(settings, "help", None) or ""
        rows.append(f"| `{_option(parameter)}` | {_cell(about + _default(parameter))} |")
    if rows:
        yield from ("", "| argument | meaning |", "| --- | --- |", *rows)
    reference = f"python.md#{verb.module}.{verb.function}"
    yield from ("", f"In Python: [`voxlake.{verb.function}`]({reference}).")


def _option(parameter: inspect.Parameter) -> str:
    name = parameter.name.replace("_", "-")
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        return f"{name.upper()}..."
    if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
        return name.upper()
    settings = _cyclopts(parameter)
    aliases = tuple(getattr(settings, "alias", None) or ())
    flag = _plain_type(parameter) is bool
    value = "" if flag else f" {_placeholder(parameter)}"
    return ", ".join(dict.fromkeys((f"--{name}", *aliases))) + value


def _placeholder(parameter: inspect.Parameter) -> str:
    kind = _plain_type(parameter)
    if typing.get_origin(kind) is typing.Literal:
        return "\\|".join(map(str, typing.get_args(kind)))
    return {str: "TEXT", int: "NUMBER", float: "NUMBER", Path: "FILE"}.get(kind, "TEXT")


def _plain_type(parameter: inspect.Parameter) -> Any:
    kind = parameter.annotation
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    kinds = [each for each in typing.get_args(kind) if each is not type(None)]
    return kinds[0] if typing.get_origin(kind) is not typing.Literal and kinds else kind


def _default(parameter: inspect.Parameter) -> str:
    default = parameter.default
    if default in (inspect.Parameter.empty, None, "", ()) or isinstance(default, bool):
        return ""
    size = isinstance(default, int) and default >= 2**30
    return f" Default: `{f'{default // 2**30}GiB' if size else default}`."


def _steps() -> Iterator[str]:
    yield from (
        "# Steps",
        "",
        "What a [plan](../how-to/write-a-plan.md) may name. Arrays are `[slice, row, column]`. A step whose",
        "version is raised makes new volumes; those of the older version stay.",
    )
    for name, step in STEPS.items():
        yield from ("", f"## {name}", "", f"Version {step.version}. {_first(step)}")
        about = _numpydoc(step)["about"]
        yield from ("", about) if about else ()
        yield from _settings_table(step)
    yield from ("", "## Plans that come with voxlake")
    folder = resources.files("voxlake.processing") / "plans"
    for name in plan_names():
        text = (folder / f"{name}.toml").read_text(encoding="utf-8").rstrip()
        yield from ("", f"### {name}", "", "```toml", text, "```")


def _step_list() -> Iterator[str]:
    yield from ("| step | what it does | settings |", "| --- | --- | --- |")
    for name, step in STEPS.items():
        settings = ", ".join(f"`{key}`" for key in step.model_fields) or "none"
        yield f"| [`{name}`](../reference/steps.md#{name}) | {_cell(_first(step))} | {settings} |"


def _settings_page() -> Iterator[str]:
    yield "# Settings"
    yield from (
        "",
        "Every key of every file that people write. An unknown key is an error that names the near miss.",
    )
    groups: tuple[tuple[str, str, type[Settings]], ...] = (
        ("Task", "A [task file](../how-to/write-a-task.md).", Task),
        ("Task: split", "The table `[split]`.", SplitSettings),
        ("Task: training", "The table `[training]`.", TrainingSettings),
        ("Task: augmentation", "The table `[training.augmentation]`.", AugmentationSettings),
        *(
            (f"Network: {name}", f'`name = "{name}"` in `[network]`.', each.settings)
            for name, each in NETWORKS.items()
        ),
        ("Policy", "A [policy file](../how-to/choose-a-policy.md).", Policy),
        ("Own rule", "One `[[rules]]` table of a [policy file](../privacy/write-a-policy.md).", OwnRule),
        ("Waiver", "One `[[waivers]]` table of a [policy file](../privacy/write-a-policy.md).", Waiver),
        ("Mapping", "A [mapping file](../how-to/map-names-to-labels.md).", MappingSettings),
        ("Mapping: rule", "The tables `[[rules]]`.", RuleSettings),
        ("Phantoms", "What may stand behind `phantoms:?`.", Phantoms),
    )
    for title, about, settings in groups:
        yield from ("", f"## {title}", "", f"{about} {_first(settings)}")
        yield from _settings_table(settings)
    yield from (
        "",
        "## Policy options",
        "",
        "| option | code of PS3.16 CID 7050 | name |",
        "| --- | --- | --- |",
    )
    yield from (f"| `{name}` | {code} | {meaning} |" for name, (code, meaning) in OPTION_CODES.items())
    yield from ("", "## Built-in policies", "", "| policy | profile | options |", "| --- | --- | --- |")
    for name, policy in PRESETS.items():
        options = ", ".join(f"`{option}`" for option in policy.options) or "none"
        yield f"| `{name}` | `{policy.profile}` | {options} |"


def _settings_table(settings: type[Settings]) -> Iterator[str]:
    about = _numpydoc(settings)["parameters"]
    if not settings.model_fields:
        return
    yield from ("", "| key | default | meaning |", "| --- | --- | --- |")
    for name, field in settings.model_fields.items():
        meaning = about.get(name, "")
        meaning += _choices(field.annotation, meaning)
        yield f"| `{name}` | {_field_default(field)} | {_cell(meaning)} |"


def _choices(annotation: Any, said: str) -> str:
    """The values that may be given, where they are few and the meaning does not name them."""
    kinds = (annotation, *typing.get_args(annotation))
    values = next((typing.get_args(kind) for kind in kinds if typing.get_origin(kind) is typing.Literal), ())
    if all(str(value) in said for value in values):
        return ""
    shown = [f'`"{value}"`' if isinstance(value, str) else f"`{value}`" for value in values]
    if len(shown) == 1:
        return f" Only {shown[0]} so far." if kinds[1:] == values else f" Or {shown[0]}."
    return f" One of {', '.join(shown)}."


def _field_default(field: Any) -> str:
    value = field.get_default(call_default_factory=True) if not field.is_required() else PydanticUndefined
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "none"
    if isinstance(value, Settings):
        return "see below"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return _cell(f"`{list(value)}`".replace("'", '"'))
    if isinstance(value, dict):
        return _cell("`{" + ", ".join(f'{key} = "{each}"' for key, each in value.items()) + "}`")
    return _cell(f'`"{value}"`' if isinstance(value, str) else f"`{value}`")


def _python() -> Iterator[str]:
    yield from (
        "# Python",
        "",
        "Everything that `import voxlake as vl` offers. The verbs take a lake or a cohort first and return",
        "a `Run`, unless they return what was asked for.",
    )
    for name in voxlake.__all__:
        value = getattr(voxlake, name)
        yield from ("", f"## voxlake.{name}", "", f"::: {value.__module__}.{value.__qualname__}")


def _first(thing: type) -> str:
    return _markdown((inspect.getdoc(thing) or "").split("\n\n")[0])


def _numpydoc(thing: Any) -> dict[str, Any]:
    """The paragraphs between summary and parameters, and what each parameter means."""
    text = inspect.getdoc(thing) or ""
    parts = re.split(r"(?m)^([A-Z][A-Za-z ]+)\n-{3,}\n", text)
    head = parts[0].strip().split("\n\n")[1:]
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    found: dict[str, str] = {}
    for part in ("Parameters", "Attributes"):
        for names, body in re.findall(_PARAMETER, sections.get(part, "") + "\n"):
            for name in names.split(","):
                found[name.strip(" *")] = _markdown(body)
    # A paragraph that ends in `::` opens an example for Python; the pages have their own.
    paragraphs = [_markdown(each) for each in head if "::" not in each and not each.startswith("    ")]
    return {"about": "\n\n".join(paragraphs), "parameters": found}


def _markdown(text: str) -> str:
    return re.sub(r"``(.+?)``", r"`\1`", " ".join(text.split()))


def _cell(text: str) -> str:
    parts = " ".join(text.split()).split("`")
    # Outside of code an angle bracket would open an HTML tag.
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return re.sub(r"(?<!\\)\|", r"\\|", "`".join(parts))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
