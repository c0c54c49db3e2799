"""How a broken promise is told."""

from collections.abc import Sequence
from itertools import starmap

import attrs

from inventory_es.testing.promise import Promise

_INDENT = 12
_WIDTH = 118


@attrs.define(eq=False, slots=False, kw_only=True)
class MismatchError(Exception):
    """Inside a case: what was expected, what came, what it means. The contract makes a :class:`BrokenPromiseError` of it.

    Attributes:
        expected: what the promise asks for.
        got: what the adapter did.
        meaning: why that breaks the promise, in words of the adapter's author.
        differs: the first field that differs, where both are records.
    """

    expected: str
    got: str
    meaning: str
    differs: str | None = None

    def __str__(self) -> str:
        return f"expected {self.expected}; got {self.got}: {self.meaning}"


class BrokenPromiseError(AssertionError):
    """An adapter does not keep a promise. The text is the whole report.

    Attributes:
        promise: which one.
        report: the text.
    """

    def __init__(self, promise: Promise, report: str) -> None:
        super().__init__(report)
        self.promise = promise
        self.report = report

    def __str__(self) -> str:
        return self.report


def report(
    promise: Promise,
    mismatch: MismatchError,
    *,
    kind: str,
    adapter: str,
    circumstances: str,
    history: str,
    repeat: str,
    raised: Sequence[tuple[str, str]] = (),
) -> str:
    """The text of a broken promise.

    Args:
        promise: what was promised.
        mismatch: what came instead.
        kind: what the adapter is: ``store``, ``cache``, ``bus``.
        adapter: its name and what it declares.
        circumstances: event loop and schedule.
        history: the operations of the run.
        repeat: a command line that runs this again.
        raised: the adapter's own lines that raised an error, each with its name.
    """
    return "\n".join((
        f"{promise.id}  {promise.sentence}",
        *_pair(kind, adapter, "", circumstances),
        *_pair("expected", mismatch.expected, "got", mismatch.got),
        *([_line("differs", mismatch.differs)] if mismatch.differs else []),
        *starmap(_line, raised),
        _line("history", history or "nothing was asked"),
        _line("meaning", mismatch.meaning),
        _line("repeat", repeat),
    ))  # fmt: skip


def _line(name: str, text: str) -> str:
    return f"  {name:<{_INDENT - 3}} {text}"


def _pair(name: str, text: str, other_name: str, other_text: str) -> list[str]:
    other = f"{other_name}  {other_text}".strip()
    if len(text) + len(other) + _INDENT + 6 <= _WIDTH:
        return [_line(name, f"{text}      {other}")]
    return [_line(name, text), _line(other_name, other_text)]
