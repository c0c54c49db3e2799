"""Ending what runs until it is told to stop."""

import signal
from collections.abc import Callable
from contextlib import ExitStack

import anyio
import click


async def stop_when_told(stop: Callable[[], object]) -> None:
    """Call ``stop`` at the first Ctrl-C or SIGTERM; at the second one, interrupt.

    Raises:
        click.Abort: at the second one.
    """
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
