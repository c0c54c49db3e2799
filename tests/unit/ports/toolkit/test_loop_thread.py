"""The thread of a driver's event loop answers every call, at its end too."""

import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import anyio
import anyio.lowlevel
import pytest

from inventory_es.ports.toolkit.loop_thread import LoopThread

SECONDS = 10.0


async def nothing() -> None:
    pass


async def twice(number: int) -> int:
    await anyio.lowlevel.checkpoint()
    return 2 * number


async def refuse() -> None:
    msg = "no"
    raise ValueError(msg)


def test_a_call_gets_its_result_or_its_error() -> None:
    thread = LoopThread("driver")
    try:
        assert thread.run(twice, 4) == 8
        with pytest.raises(ValueError, match="no"):
            thread.run(refuse)
    finally:
        thread.end(nothing)


def test_a_call_in_flight_is_cancelled_by_the_end() -> None:
    thread, has_begun = LoopThread("driver"), threading.Event()

    async def wait() -> None:
        has_begun.set()
        await anyio.sleep_forever()

    with ThreadPoolExecutor(1) as caller:
        call = caller.submit(thread.run, wait)
        assert has_begun.wait(SECONDS)
        thread.end(nothing)
        assert isinstance(call.exception(SECONDS), CancelledError)


def test_a_call_after_the_end_is_refused() -> None:
    thread = LoopThread("driver")
    thread.end(nothing)
    with pytest.raises(RuntimeError, match="closed"):
        thread.run(nothing)
