"""Ctrl-C: ends the process at once, interrupts work in order, or stops what runs until it is told to stop."""

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType

CODE = 130
"""The exit code, as for every program that SIGINT ended."""

_NOTHING = "interrupted; nothing was changed"
_GOES_ON = "interrupted; what is in stays in, and the same command goes on from there"
_MESSAGES = {
    "demo": f"{_GOES_ON}; a store in memory is gone",
    "replay": f"{_GOES_ON}; a store in memory is gone",
    "copy": _GOES_ON,
    "project": _GOES_ON,
    "publish": _GOES_ON,
    "consume": "interrupted; an event whose line was not written in whole comes again",
    "rebuild": _GOES_ON,
    "parked": "interrupted; no stream was dealt with in part: parked lists what is left",
    "backup": "interrupted; the copy is not complete: remove its folder before the next backup",
    "verify": "interrupted; no event was changed, and what --repair has removed is made again when the store is opened",
}
"""The message of each command that writes."""


def message_after(command: str | None) -> str:
    """Return the message after a command was interrupted: what was done, and how to go on."""
    return _MESSAGES.get(command or "", _NOTHING)


def end_at_once() -> None:
    """Make Ctrl-C end the process. While modules are imported, nothing needs undoing, and an exception might be swallowed."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a shell leaves a command in the background
        signal.signal(signal.SIGINT, _end)


def raise_as_usual() -> None:
    """Make Ctrl-C raise ``KeyboardInterrupt`` again, so that work in flight ends in order."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


async def stop_when_told(stop: Callable[[], object]) -> None:
    """Call ``stop`` at the first Ctrl-C or SIGTERM, and interrupt at the second.

    Raises:
        click.Abort: at the second signal.
    """
    import anyio  # noqa: PLC0415  # this module is imported before Ctrl-C ends the process, so it imports nothing else
    import click  # noqa: PLC0415  # the same

    with ExitStack() as stack:
        try:
            signals = stack.enter_context(anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM))
        except NotImplementedError:  # asyncio on Windows has none: Ctrl-C interrupts at once
            await anyio.sleep_forever()
            raise
        await anext(signals)
        stop()
        await anext(signals)
    raise click.Abort


def _end(_number: int, _frame: FrameType | None) -> None:
    os.write(2, f"\ninventory-es: {_NOTHING}\n".encode())
    os._exit(CODE)
