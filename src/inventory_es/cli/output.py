"""Standard output and standard error output: any encoding, and readers that leave early."""

import codecs
import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

_ERRORS = "inventory_es.plain"
_PLAIN: dict[str, str] = dict("✓+ ✗x █# ■# ▒: ▲^ ▁. ▂. ▃- ▄- ▅= ▆= ▇# ─- ━- ╸- ╺- │| ┃| ·. ×x ±+ −- –- —- …~ →> ←< “\" ”\" ‘' ’'".split())  # type: ignore[arg-type]  # noqa: SIM905  # pairs of two characters
"""The ASCII character in place of a drawing or typographic one, of the same width."""
_BRAILLE = range(0x2800, 0x2900)


def prepare_output() -> None:
    """Make both streams accept every text: characters that their encoding lacks become ASCII, or numbered escapes.

    A stream that was closed before the program began is opened on the null device. So writing to it never fails, and no file of a store
    gets its descriptor.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # in the order of their descriptors
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  # for the rest of the process
    codecs.register_error(_ERRORS, _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def tell(text: str) -> None:
    """Write one line to the standard error output. A reader that has left is no error."""
    with suppress(BrokenPipeError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def finish_output() -> None:
    """Flush the standard output. If that fails, keep the interpreter from flushing again when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _plainly(problem: UnicodeError) -> tuple[str, int]:
    if not isinstance(problem, UnicodeEncodeError):
        raise problem
    return "".join(map(_plain, problem.object[problem.start : problem.end])), problem.end


def _plain(character: str) -> str:
    if ord(character) in _BRAILLE:  # a spinner's
        return "*"
    return _PLAIN.get(character) or character.encode("ascii", "backslashreplace").decode("ascii")
