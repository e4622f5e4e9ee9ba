"""The flow of data as a drawing: what was found, what was left out and why, what was used.

Drawn by hand and not by a plotting library, so that it is text: it can be searched, read aloud and printed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from voxlake.evaluation.content import Flow, FlowPart, FlowStep

__all__ = ["flow_svg"]

_WIDTH = 760
_MAIN = (10, 350)  # left edge and width of the main boxes
_SIDE = (410, 340)  # left edge and width of the exclusion boxes
_LINE = 20
_PAD = 12
_GAP = 30
_PER_ROW = 4
_LETTER = 7.4  # mean width of a letter at 14 px, on the wide side


@dataclass(frozen=True)
class _Box:
    left: float
    top: float
    width: float
    lines: tuple[str, ...]
    kind: str

    @property
    def height(self) -> float:
        return 2 * _PAD + _LINE * len(self.lines)

    @property
    def bottom(self) -> float:
        return self.top + self.height

    @property
    def middle(self) -> float:
        return self.left + self.width / 2


def flow_svg(flow: Flow) -> Markup:
    """Draw the flow.

    Parameters
    ----------
    flow : Flow
        Steps from top to bottom, exclusions at their side, parts at the foot.

    Returns
    -------
    Markup
        An ``<svg>`` element with a title and a description in words. All text is escaped.
    """
    drawn: list[Markup] = []
    top, before = 2.0, None
    for step in flow.steps:
        unit = step.unit or flow.unit
        box = _Box(*_MAIN[:1], top, _MAIN[1], _wrap(_step_lines(step, unit), _MAIN[1]), "box")
        drawn.append(_draw(box))
        if before is not None:
            drawn.append(_arrow(before.middle, before.bottom, box.middle, box.top))
        top, before = box.bottom + _GAP, box
        if step.excluded:
            side = _Box(_SIDE[0], box.bottom + 10, _SIDE[1], _exclusion_lines(step, unit), "side")
            drawn += [_draw(side), _arrow(box.middle, side.top + 22, side.left, side.top + 22)]
            top = side.bottom + 10
    if before is not None and flow.parts:
        foot, top = _parts(flow, before, top)
        drawn += foot
    height = top - _GAP + 12
    return Markup(
        '<svg class="flow" role="img" aria-labelledby="flow-title flow-words" viewBox="0 0 {} {:.0f}">'
        '<title id="flow-title">Flow of data</title><desc id="flow-words">{}</desc>'
        '<defs><marker id="flow-head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto"><path d="M0 0 8 4 0 8z" class="head"/></marker></defs>{}</svg>'
    ).format(_WIDTH, height, _in_words(flow), Markup("").join(drawn))


def _parts(flow: Flow, before: _Box, top: float) -> tuple[list[Markup], float]:
    """Boxes of the parts in rows, joined to the last step by one rail."""
    drawn: list[Markup] = []
    for start in range(0, len(flow.parts), _PER_ROW):
        row = flow.parts[start : start + _PER_ROW]
        width = (_WIDTH - 20 - 16 * (len(row) - 1)) / len(row)
        lines = [_wrap(_part_lines(part, flow.unit), width) for part in row]
        tallest = max(len(each) for each in lines)
        for number, each in enumerate(lines):
            padded = each + ("",) * (tallest - len(each))
            box = _Box(10 + number * (width + 16), top, width, padded, "part")
            drawn.append(_draw(box))
            if start == 0:
                rail = top - _GAP / 2
                drawn.append(_line(before.middle, before.bottom, before.middle, rail))
                drawn.append(_line(before.middle, rail, box.middle, rail))
                drawn.append(_arrow(box.middle, rail, box.middle, top))
        top += 2 * _PAD + _LINE * tallest + (16 if start + _PER_ROW < len(flow.parts) else _GAP)
    return drawn, top


def _step_lines(step: FlowStep, unit: str) -> tuple[str, str]:
    return step.label, _amount(step.count, unit, step.patients)


def _part_lines(part: FlowPart, unit: str) -> tuple[str, str]:
    return part.label, _amount(part.count, unit, part.patients)


def _exclusion_lines(step: FlowStep, unit: str) -> tuple[str, ...]:
    total = sum(each.count for each in step.excluded)
    lines = [f"Left out: {total:,} {unit}"]
    for each in step.excluded:
        lines += _wrap_one(f"{each.count:,} {each.reason}", _SIDE[1])
    return tuple(lines)


def _amount(count: int, unit: str, patients: int | None) -> str:
    return f"{count:,} {unit}" + ("" if patients is None else f" of {patients:,} patients")


def _wrap(lines: Sequence[str], width: float) -> tuple[str, ...]:
    return tuple(piece for line in lines for piece in _wrap_one(line, width))


def _wrap_one(line: str, width: float) -> list[str]:
    return textwrap.wrap(line, max(8, int((width - 2 * _PAD) / _LETTER)), drop_whitespace=True) or [""]


def _draw(box: _Box) -> Markup:
    text = Markup("").join(
        Markup('<text x="{:.1f}" y="{:.1f}"{}>{}</text>').format(
            box.left + _PAD,
            box.top + _PAD + _LINE * (number + 0.72),
            Markup(' class="first"') if number == 0 else Markup(""),
            line,
        )
        for number, line in enumerate(box.lines)
        if line
    )
    return Markup(
        '<g class="{}"><rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="4"/>{}</g>'
    ).format(box.kind, box.left, box.top, box.width, box.height, text)


def _line(x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<path class="way" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>').format(x1, y1, x2, y2)


def _arrow(x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<path class="way" marker-end="url(#flow-head)" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>').format(
        x1, y1, x2, y2
    )


def _in_words(flow: Flow) -> Markup:
    sentences = []
    for step in flow.steps:
        sentences.append(f"{step.label}: {_amount(step.count, step.unit or flow.unit, step.patients)}.")
        sentences += [f"Left out: {each.count:,}, {each.reason}." for each in step.excluded]
    sentences += [f"{part.label}: {_amount(part.count, flow.unit, part.patients)}." for part in flow.parts]
    return escape(" ".join(sentences))
