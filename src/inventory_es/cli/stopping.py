"""Ending what runs until it is told to stop."""

import signal
from collections.abc import Callable

import anyio
import click


async def stop_when_told(stop: Callable[[], object]) -> None:
    """Call ``stop`` at the first Ctrl-C or SIGTERM; at the second one, interrupt.

    Raises:
        click.Abort: at the second one.
    """
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        await anext(signals)
        stop()
        await anext(signals)
    raise click.Abort
