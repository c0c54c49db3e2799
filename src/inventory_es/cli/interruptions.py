"""Ctrl-C: when it ends the process at once, and what is true after it."""

import os
import signal
from types import FrameType

CODE = 130
"""The exit code, as of every program that SIGINT ended."""

_NOTHING = "interrupted; nothing was changed"
_GOES_ON = "interrupted; what is in stays in, and the same command goes on from there"
_MESSAGES = {
    "demo": f"{_GOES_ON}; a store in memory is gone",
    "replay": f"{_GOES_ON}; a store in memory is gone",
    "copy": _GOES_ON,
    "project": _GOES_ON,
    "rebuild": _GOES_ON,
    "parked": "interrupted; no stream was dealt with in part: parked lists what is left",
    "backup": "interrupted; the copy is not complete: remove its folder before the next backup",
    "verify": "interrupted; no event was changed, and what --repair has removed is made again when the store is opened",
}
"""By command, for those that write."""


def message_after(command: str | None) -> str:
    """Return what is true after a command was interrupted."""
    return _MESSAGES.get(command or "", _NOTHING)


def end_at_once() -> None:
    """Have Ctrl-C end the process: while modules are imported there is nothing to undo, and an exception might be swallowed."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a shell leaves a command in the background
        signal.signal(signal.SIGINT, _end)


def raise_as_usual() -> None:
    """Have Ctrl-C raise ``KeyboardInterrupt`` again, so that work in flight is ended in order."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(_number: int, _frame: FrameType | None) -> None:
    os.write(2, f"\ninventory-es: {_NOTHING}\n".encode())
    os._exit(CODE)
