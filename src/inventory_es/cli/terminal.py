"""What is printed, and how: JSON for programs, tables for people."""

import json
import sys
from typing import Any

import msgspec
from rich.console import Console
from rich.theme import Theme

THEME = Theme(
    {
        "good": "green",
        "bad": "red",
        "number": "bold",
        "quiet": "bright_black",
        "title": "bold",
        "command": "cyan",
    }
)
"""What styles mean."""


class _Output(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command line, which knows how to end."""
        raise BrokenPipeError


def console() -> Console:
    """Standard output, for people."""
    return _Output(theme=THEME, highlight=False)


class _Progress(Console):
    def on_broken_pipe(self) -> None:
        """Show no more; the work goes on."""
        self.quiet = True


def error_console() -> Console:
    """Standard error, for people: where progress is shown."""
    return _Progress(theme=THEME, highlight=False, stderr=True)


def print_json(value: Any) -> None:
    """Print one object on one line. In ASCII, with escapes for the rest: the same in every encoding of the output."""
    text = msgspec.json.encode(value).decode()
    print_line(text if text.isascii() else json.dumps(json.loads(text), separators=(",", ":")))


def print_line(text: str) -> None:
    """One line, as it is."""
    try:
        sys.stdout.write(f"{text}\n")
    except BrokenPipeError:
        raise BrokenPipeError from None  # without its number: on seeing that, click would end the process as if something was wrong


def number(value: float) -> str:
    """A whole number as people read it."""
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """A time span as people read it, in its largest unit: 850 ms, 12 s, 3 min, 5 h, 12 d."""
    if seconds < 1:
        return f"{1_000 * seconds:.0f} ms"
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.0f} s"
