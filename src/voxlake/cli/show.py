"""What a command prints: a summary that a tired person understands, or one JSON object."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from voxlake.core.errors import UsageError
from voxlake.core.reasons import REASONS
from voxlake.core.run import Run
from voxlake.lake.checked import Checked
from voxlake.lake.cohorts import Cohort
from voxlake.lake.feed import Feed
from voxlake.store.query import Result
from voxlake.verbs import Verb

if TYPE_CHECKING:
    from voxlake.cli.command import Shared

__all__ = ["show"]

_ROWS_ON_A_TERMINAL = 100


def show(verb: Verb, value: Any, options: Shared) -> int:
    """Print what a verb returned; returns the exit status."""
    if isinstance(value, Cohort) and value.run is not None:
        value = value.run
    if isinstance(value, Run):
        _run(value, options)
        # A lake that is damaged is no matter of strictness.
        return 1 if (options.strict or value.verb == "verify") and value.failures else 0
    if isinstance(value, Checked):
        _data(value, value.values, options)
        return 0 if value.holds else 1
    if isinstance(value, Feed):
        return _feed(value, options)
    if isinstance(value, str):
        print(json.dumps({verb.command: value}) if options.json else value)
        return 0
    rows = value.dicts() if isinstance(value, Result) else value
    _data(value, rows, options)
    if options.json:
        count = len(rows)
        print(json.dumps({"verb": verb.command, "rows": count}), file=sys.stderr)
    return 0


def _feed(feed: Feed, options: Shared) -> int:
    if options.json:
        content = {"cursor": feed.cursor, "complete": feed.complete, "changes": feed.dicts()}
        print(json.dumps(content, default=_plain))
        return 0
    _data(feed, feed.dicts(), options)
    more = "" if feed.complete else " (there is more)"
    print(f"go on with{more}: --since {feed.cursor}", file=sys.stderr)
    return 0


def _run(run: Run, options: Shared) -> None:
    console = Console(stderr=True, highlight=False)
    console.print(f"[bold]{run.verb}[/bold] {run.outcome} in {run.seconds:.1f} s: {run.balance()}")
    for reason, count in run.reasons.items():
        console.print(f"  {count:>8,}  {reason}: {REASONS.get(reason, '')}")
    for name, value in run.result.items():
        if name == "scores":
            for metric, figure in value.items():
                console.print(f"  {metric:>20}  {_figure(figure)}", markup=False)
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            console.print(f"  {name}:", markup=False)
            console.print(_grid(value, list(value[0])))
        else:
            console.print(f"  {name}: {_short(value)}", markup=False)
    console.print(f"  run: {run.run_id}", markup=False)
    if options.json:
        print(json.dumps(run.to_dict(), default=_plain), flush=True)


def _figure(figure: Mapping[str, float | None]) -> str:
    value, low, high = (figure[name] for name in ("value", "low", "high"))
    if value is None:
        return "not defined"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f}  (95% {low:.3f} to {high:.3f})"


def _data(value: Any, rows: Any, options: Shared) -> None:
    if options.output is not None:
        _write(value, rows, options.output, options.format)
    elif options.json or options.format == "json":
        print(json.dumps(rows, default=_plain, indent=None if options.json else 2))
    elif isinstance(rows, Mapping):
        _mapping(rows)
    elif options.format == "csv":
        print(_csv(rows), end="")
    elif options.format == "parquet":
        raise UsageError("parquet is binary: give --output FILE")
    else:
        _table(rows, value.columns if isinstance(value, Result) else None)


def _write(value: Any, rows: Any, output: Path, kind: str) -> None:
    if kind == "parquet" and isinstance(value, Result):
        value.write(output, "parquet")
    elif kind == "json":
        output.write_text(json.dumps(rows, default=_plain, indent=2) + "\n", encoding="utf-8")
    else:
        output.write_text(_csv(rows if isinstance(rows, list) else [rows]), encoding="utf-8")


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None) -> None:
    names = list(columns) if columns is not None else list(rows[0] if rows else ())
    if not names:
        print("nothing", file=sys.stderr)
        return
    Console(highlight=False).print(_grid(rows[:_ROWS_ON_A_TERMINAL], names), markup=False)
    if len(rows) > _ROWS_ON_A_TERMINAL:
        print(f"... {len(rows) - _ROWS_ON_A_TERMINAL:,} more; use --format csv for all", file=sys.stderr)


def _grid(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Table:
    table = Table(show_edge=False, header_style="bold")
    for name in names:
        numbers = bool(rows) and all(isinstance(row[name], int | float | None) for row in rows)
        table.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in names))
    return table


def _mapping(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            print(f"{name}:")
            _table(value, None)
        else:
            print(f"{name}: {_short(value)}")


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    buffer = io.StringIO()
    if rows:
        writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return buffer.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, list | dict):
        return json.dumps(value, default=_plain)
    return str(value)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_short(item)}" for name, item in value.items()) or "none"
    return _cell(value)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)
