"""The directive ``{state-diagram}``: the states of a process, drawn from the table that folds it."""

import importlib
import re
from collections.abc import Iterable, Mapping
from html import escape
from math import hypot
from typing import NamedTuple

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

WIDTH, HEIGHT = 128, 34
COLUMN, ROW = 215, 128
MARGIN = 14
LONGEST = 12


class Point(NamedTuple):
    """A place on the drawing."""

    x: float
    y: float


class StateDiagram(SphinxDirective):
    """``{state-diagram} package.transitions``, with a grid of its states; ``.`` leaves a place free.

    An arrow is an event that leads from one state to another. A box lists the events within its state.
    """

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the drawing as a node.

        Raises:
            ValueError: the grid and the table name different states.
        """
        table = importlib.import_module(self.arguments[0]).TRANSITIONS
        arrows: dict[tuple[str, str], list[str]] = {}
        for (state, event), leads_to in table.items():
            for target in leads_to:
                arrows.setdefault((state.value, target.value), []).append(_label(event.__name__))
        places = _places(self.content)
        if places.keys() != {state for arrow in arrows for state in arrow}:
            msg = f"the grid and {self.arguments[0]} name different states"
            raise ValueError(msg)
        return [nodes.raw("", _draw(places, arrows), format="html")]


def _places(lines: Iterable[str]) -> dict[str, Point]:
    return {
        state: Point(MARGIN + WIDTH / 2 + column * COLUMN, MARGIN + HEIGHT / 2 + row * ROW)
        for row, line in enumerate(lines)
        for column, state in enumerate(line.split())
        if state != "."
    }


def _label(event: str) -> str:
    words = re.findall(r"[A-Z][a-z]+", event)[1:-1]
    return " ".join(words).lower()


def _draw(places: Mapping[str, Point], arrows: Mapping[tuple[str, str], list[str]]) -> str:
    within = {state: labels for (state, target), labels in arrows.items() if state == target}
    heights = {state: HEIGHT + 14 * len(within.get(state, ())) for state in places}
    width = max(place.x for place in places.values()) + WIDTH / 2 + MARGIN
    height = max(place.y - HEIGHT / 2 + heights[state] for state, place in places.items()) + MARGIN
    body = [
        _arrow(places, heights, arrow, labels, arrows)
        for arrow, labels in arrows.items()
        if arrow[0] != arrow[1]
    ]
    body += [_box(place, state, within.get(state, ()), heights[state]) for state, place in places.items()]
    size = 'viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
    tip = f'<marker id="tip" {size} orient="auto-start-reverse"><path d="M0 0 8 4 0 8z"/></marker>'
    defs = f"<defs>{tip}</defs>"
    view = f'viewBox="0 0 {width:g} {height:g}" style="max-width:{width:g}px"'
    return f'<svg class="states" {view} role="img">{defs}{"".join(body)}</svg>'


def _box(place: Point, state: str, within: Iterable[str], height: float) -> str:
    top = place.y - HEIGHT / 2
    rect = f'<rect x="{place.x - WIDTH / 2:g}" y="{top:g}" width="{WIDTH}" height="{height:g}" rx="8"/>'
    name = f'<text class="state" x="{place.x:g}" y="{top + 21:g}">{escape(state.replace("_", " "))}</text>'
    lines = [
        f'<text x="{place.x:g}" y="{top + 36 + 14 * row:g}">{escape(line)}</text>'
        for row, line in enumerate(within)
    ]
    return rect + name + "".join(lines)


def _arrow(
    places: Mapping[str, Point],
    heights: Mapping[str, float],
    arrow: tuple[str, str],
    labels: list[str],
    arrows: Mapping[tuple[str, str], list[str]],
) -> str:
    source, target = arrow
    start, end = places[source], places[target]
    distance = hypot(end.x - start.x, end.y - start.y)
    bend = _bend(places, arrow, arrows)
    middle = Point(
        (start.x + end.x) / 2 - (end.y - start.y) / distance * bend,
        (start.y + end.y) / 2 + (end.x - start.x) / distance * bend,
    )
    begin, stop = _edge(start, heights[source], middle), _edge(end, heights[target], middle)
    top = Point((begin.x + 2 * middle.x + stop.x) / 4, (begin.y + 2 * middle.y + stop.y) / 4)
    curve = f"M{begin.x:g} {begin.y:g}Q{middle.x:g} {middle.y:g} {stop.x:g} {stop.y:g}"
    path = f'<path d="{curve}" marker-end="url(#tip)"/>'
    words = [line for label in labels for line in (label.split() if len(label) > LONGEST else [label])]
    first = top.y - 6.5 * (len(words) - 1) + 4
    lines = [
        f'<text class="event" x="{top.x:g}" y="{first + 13 * row:g}">{escape(line)}</text>'
        for row, line in enumerate(words)
    ]
    return path + "".join(lines)


def _bend(
    places: Mapping[str, Point], arrow: tuple[str, str], arrows: Mapping[tuple[str, str], list[str]]
) -> float:
    """Return the swing of an arrow: around a state in between, or next to an arrow in the other direction."""
    start, end = places[arrow[0]], places[arrow[1]]
    for other in places.values():
        steps = [
            (start.x + (end.x - start.x) * part / 20, start.y + (end.y - start.y) * part / 20)
            for part in range(21)
        ]
        is_between = any(abs(x - other.x) < WIDTH / 2 and abs(y - other.y) < HEIGHT for x, y in steps)
        if other not in {start, end} and is_between:
            return 120 if abs(end.y - start.y) < ROW / 2 else 150
    return 26 if arrow[::-1] in arrows else 0


def _edge(place: Point, height: float, towards: Point) -> Point:
    """Return the point at which a line from the middle of a box leaves it."""
    top, bottom = place.y - HEIGHT / 2, place.y - HEIGHT / 2 + height
    dx, dy = towards.x - place.x, towards.y - place.y
    limits = [(WIDTH / 2 + 3) / abs(dx)] if dx else []
    if dy:
        limits.append(((bottom - place.y if dy > 0 else place.y - top) + 3) / abs(dy))
    part = min(limits)
    return Point(place.x + dx * part, place.y + dy * part)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("state-diagram", StateDiagram)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
