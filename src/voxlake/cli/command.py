"""From the function of a verb to its command."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, Literal

from cyclopts import Parameter, Token

from voxlake.cli.show import show
from voxlake.core.errors import UsageError
from voxlake.lake.cohorts import Cohort, get_cohort
from voxlake.lake.lake import open_lake
from voxlake.verbs import Verb

__all__ = ["command_of"]

# Parameters that only make sense in Python; and those that hold bytes, which people write as 4GiB.
_PYTHON_ONLY = {"parameters", "questions", "each_run"}
_BYTES = {"memory": "Memory of one worker", "limit": "Largest file that is taken in"}
_LIMITED = {"ingest", "deidentify"}
_ALIASES = {"mapping": "--map"}
_UNITS = {"": 1} | {
    letter + i: base**power for power, letter in enumerate("kmgt", 1) for i, base in (("", 1000), ("i", 1024))
}


@dataclass(frozen=True)
class Shared:
    """Options that every command has."""

    lake: str
    key: Path | None
    json: bool
    strict: bool
    format: str
    output: Path | None


def command_of(verb: Verb, function: Callable[..., Any]) -> Callable[..., int]:
    """Make the command of a verb.

    The parameters of the function become arguments and options with the help of its docstring; a `Lake`
    is opened from ``--lake``, a `Cohort` is named, and what the function returns is shown.
    """
    parameters = inspect.signature(function).parameters
    hints = typing.get_type_hints(function)
    own = [
        parameter.replace(annotation=_annotation(verb.function, name, hints[name]))
        for name, parameter in parameters.items()
        if name not in _PYTHON_ONLY and name != "lake"
    ]
    shared = _shared(
        with_lake="lake" in parameters or "cohort" in parameters, prints=_prints(hints["return"])
    )

    def command(*positional: Any, **named: Any) -> int:
        given = {parameter.name: named.pop(parameter.name, parameter.default) for parameter in shared}
        options = Shared(**{**_DEFAULTS, **given})
        bound = inspect.Signature(_ordered(own)).bind(*positional, **named)
        arguments, keywords = list(bound.args), dict(bound.kwargs)
        if "lake" in parameters:
            # A policy that is named when a lake is made is the policy of that lake.
            policy = keywords.get("policy") if verb.creates else None
            lake = open_lake(options.lake, key=options.key, policy=policy, create=verb.creates)
            arguments.insert(0, lake)
        elif "cohort" in parameters:
            lake = open_lake(options.lake, key=options.key, create=False)
            arguments[0] = get_cohort(lake, arguments[0])
        if "each_run" in parameters:
            keywords["each_run"] = lambda run: show(verb, run, options)
        return show(verb, function(*arguments, **keywords), options)

    command.__name__ = verb.function
    command.__doc__ = _help(function)
    command.__signature__ = inspect.Signature(_ordered([*own, *shared]))  # type: ignore[attr-defined]
    return command


_DEFAULTS: Mapping[str, Any] = {
    "lake": "./lake",
    "key": None,
    "json": False,
    "strict": False,
    "format": "table",
    "output": None,
}


def _shared(*, with_lake: bool, prints: bool) -> list[inspect.Parameter]:
    options: list[tuple[str, Any, Any]] = []
    if with_lake:
        options += [
            (
                "lake",
                str,
                Parameter(
                    env_var="VOXLAKE_LAKE", help="The lake: a folder, or s3://, gs://, az://.", group="Lake"
                ),
            ),
            (
                "key",
                Path | None,
                Parameter(
                    env_var="VOXLAKE_KEY_FILE", help="Its key file, if not in the usual place.", group="Lake"
                ),
            ),
        ]
    options.append(
        ("json", bool, Parameter(negative=(), help="Print one JSON object for machines.", group="Output"))
    )
    if prints:
        options += [
            (
                "format",
                Literal["table", "csv", "json", "parquet"],
                Parameter(help="How rows are printed.", group="Output"),
            ),
            (
                "output",
                Path | None,
                Parameter(help="File for the rows, instead of the terminal.", group="Output"),
            ),
        ]
    else:
        about = "Exit with 1 if any item failed."
        options.append(("strict", bool, Parameter(negative=(), help=about, group="Output")))
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_DEFAULTS[name],
            annotation=Annotated[kind, parameter],
        )
        for name, kind, parameter in options
    ]


def _prints(returned: Any) -> bool:
    return getattr(returned, "__name__", "") in {"Result", "list", "dict", "str", "Checked", "Feed"}


def _annotation(verb: str, name: str, hint: Any) -> Any:
    if hint is Cohort:
        return Annotated[str, Parameter(help="Name of a cohort, or name@version.")]
    # Of other verbs the limit is a number of rows.
    if name in _BYTES and hint is int and (name != "limit" or verb in _LIMITED):
        about = f"{_BYTES[name]}, for example 4GB."
        return Annotated[int, Parameter(converter=_bytes, help=about, show_default=_size)]
    plain = _plain(hint)
    return Annotated[plain, Parameter(alias=_ALIASES[name])] if name in _ALIASES else plain


def _plain(hint: Any) -> Any:
    """What can be typed: of alternatives the text, path or number, never an object of voxlake."""
    alternatives = typing.get_args(hint)
    if typing.get_origin(hint) is Sequence:
        return GenericAlias(tuple, (alternatives[0], ...))
    if not alternatives or typing.get_origin(hint) is Literal:
        return hint
    simple = {str, Path, int, float, bool, type(None)}
    kept = [one for one in alternatives if one in simple or typing.get_origin(one) is Literal]
    if str in kept and Path in kept:
        kept.remove(Path)
    if not kept:
        return hint
    return kept[0] if len(kept) == 1 else typing.Union[tuple(kept)]  # noqa: UP007 - made at run time


def _bytes(_: Any, tokens: tuple[Token, ...]) -> int:
    text = tokens[0].value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", text, re.IGNORECASE)
    if match is None or match[2].lower() not in _UNITS:
        raise UsageError(f"'{text}' is no size; write for example 4GiB or 500MB")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def _size(size: int) -> str:
    return f"{size / 2**30:g}GiB"


def _help(function: Callable[..., Any]) -> str:
    """The docstring without its examples: the command line has its own."""
    return (inspect.getdoc(function) or "").split("\nExamples\n")[0].replace("``", "")


def _ordered(parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    return sorted(parameters, key=lambda parameter: parameter.kind)
