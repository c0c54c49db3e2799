"""The one thread that writes: whatever arrives while a commit is in flight shares the next one."""

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from copy import copy
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import anyio
import anyio.lowlevel
import attrs

from inventory_es.adapters.file.engine import FileStoreEngine
from inventory_es.domain.errors import InventoryError
from inventory_es.ports.errors import StoreClosedError
from inventory_es.ports.records import AppendResult, StreamWrite
from inventory_es.ports.wakeup import Wakeup, futures

Groups = Sequence[Sequence[StreamWrite]]

_logger = logging.getLogger(__name__)
_IDLE = 0.2
_LONGEST_PAUSE = 0.2
"""Seconds in which somebody whose turn it is must let hear of himself."""
_MAX_GROUPS = 4_096
_MAX_BACKLOG = 100_000


@attrs.define(eq=False)
class _Request:
    """Appends of one caller. Whoever takes the ticket decides: the writer runs it, or the caller has withdrawn it."""

    groups: Groups
    done: Wakeup
    ticket: list[None]
    outcomes: Sequence[AppendResult | Exception] = ()
    error: Exception | None = None

    def take(self) -> bool:
        """Whether nobody took it before; popping a list is atomic."""
        try:
            self.ticket.pop()
        except IndexError:
            return False
        return True


@attrs.define(eq=False)
class _Turn:
    """The wish to write before others do. Put into the queue when it is asked for, and again when it is over."""

    has_begun: anyio.Event
    is_over: bool = False


class CommitWriter:
    """Runs the commits of one engine, one at a time, in a thread of its own; its tasks are those of one event loop.

    When nothing has arrived for 200 ms it tidies; under steady load, when the people's files are 100,000 events behind. If the thread
    ends with an unexpected error, all who wait and all who come later are told so by ``StoreClosedError``.

    Args:
        engine: what it drives.
        after_commit: called in the event loop after each commit. The thread holds it, so it must not hold who drops the writer.
    """

    def __init__(self, engine: FileStoreEngine, after_commit: Callable[[], None]) -> None:
        self._engine = engine
        self._after_commit = after_commit
        self._queue: SimpleQueue[_Request | _Turn | None] = SimpleQueue()
        self._call_soon = _thread_safe_call()
        self._future = futures()
        self._finished = anyio.Event()
        self._is_let_go = False
        self._taken: list[_Request] = []
        self._failure: StoreClosedError | None = None
        self._thread = Thread(target=self._run, name="inventory_es file store writer", daemon=True)
        self._thread.start()

    async def commit(self, groups: Groups) -> Sequence[AppendResult | Exception]:
        """Run these appends in the next commit; see :meth:`FileStoreEngine.commit`.

        Cancelled before the commit begins, nothing of it runs; after that, its outcome is unknown to the caller.
        """
        request = _Request(groups, self._future() or Wakeup(anyio.Event()), [None])
        self._queue.put(request)
        try:
            if self._failure is not None and request.take():  # nobody else looks into the queue any more
                raise self._failure
            await request.done
        finally:
            request.take()
        if request.error is not None:
            raise request.error
        return request.outcomes

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None, None]:
        """Keep other handles from committing, but for no longer than the event loop goes on; one at a time."""
        turn = _Turn(anyio.Event())
        self._queue.put(turn)
        try:
            if self._failure is not None:
                raise self._failure
            await turn.has_begun.wait()
            yield
        finally:
            turn.is_over = True
            self._queue.put(turn)

    async def stop(self) -> None:
        """Run what was asked for before, and end the thread."""
        self._queue.put(None)
        await self._finished.wait()

    def let_go(self) -> None:
        """Have the thread close the engine and end: nobody will call again, and perhaps the event loop is gone. For a finalizer."""
        self._is_let_go = True
        self._queue.put(None)

    def _run(self) -> None:
        try:
            self._serve_all()
        except BaseException as problem:
            _logger.exception("store_writer_failed", extra={"store": self._engine.name})
            reason = f"its writer ended with an unexpected {type(problem).__name__}"
            self._failure = StoreClosedError(store=self._engine.name, reason=reason)
            with suppress(RuntimeError):  # the event loop has ended, and all who waited in it
                self._fail_all(self._failure)
        with suppress(RuntimeError):
            self._call_soon(self._finished.set)

    def _fail_all(self, failure: StoreClosedError) -> None:
        """Tell those whose appends were taken and not answered, and all that wait in the queue."""
        waiting = self._taken
        with suppress(Empty):
            while True:
                item = self._queue.get_nowait()
                if isinstance(item, _Request) and item.take():
                    waiting.append(item)
                elif isinstance(item, _Turn):  # what it wants to append is refused
                    self._call_soon(item.has_begun.set)
        for request in waiting:
            request.error = failure
        self._call_soon(self._deliver, waiting)

    def _serve_all(self) -> None:
        patience: float | None = _IDLE
        while True:
            try:
                item = self._queue.get(timeout=patience)
            except Empty:
                patience = None if self._tidy() else 0.0
                continue
            patience = _IDLE
            if not self._serve(item):
                break
            if self._engine.backlog > _MAX_BACKLOG:
                self._tidy()
        if self._is_let_go:
            self._engine.close()

    def _serve(self, item: _Request | _Turn | None) -> bool:
        """Do what was asked for; ``False``: that was to stop."""
        if isinstance(item, _Request):
            rest = self._gather(item)
            if self._taken:
                self._commit()
            return all(map(self._serve, rest))
        if item is None:
            return False
        return item.is_over or self._take_turn(item)

    def _take_turn(self, turn: _Turn) -> bool:
        """Serve this process alone until its turn is over, or nothing is heard of it; ``False``: stop."""
        try:
            with self._engine.turn():
                self._call_soon(turn.has_begun.set)
                while not turn.is_over:
                    if not self._serve(self._queue.get(timeout=_LONGEST_PAUSE)):
                        return False
        except Empty:
            _logger.debug("store_turn_lapsed")
        except Exception as problem:  # noqa: BLE001 - whatever it is, the append that follows meets it and tells
            _logger.debug("store_turn_not_given", extra={"problem": type(problem).__name__})
            self._call_soon(turn.has_begun.set)
        return True

    def _gather(self, first: _Request) -> Sequence[_Turn | None]:
        """Take what waits now and was not withdrawn; gives what comes next, if that is something else."""
        taken = self._taken = [first] if first.take() else []
        groups = len(first.groups)
        while groups < _MAX_GROUPS and not self._queue.empty():
            request = self._queue.get()
            if not isinstance(request, _Request):
                return (request,)
            if request.take():
                taken.append(request)
                groups += len(request.groups)
        return ()

    def _commit(self) -> None:
        requests = self._taken
        try:
            outcomes = self._engine.commit([writes for request in requests for writes in request.groups])
        except Exception as problem:  # noqa: BLE001 - whatever it is belongs to the callers
            for request in requests:
                request.error = problem if len(requests) == 1 else _copy(problem)
        else:
            at = 0
            for request in requests:
                request.outcomes = outcomes[at : at + len(request.groups)]
                at += len(request.groups)
        self._call_soon(self._deliver, requests)
        self._taken = []
        self._engine.settle()

    def _deliver(self, requests: list[_Request]) -> None:
        for request in requests:
            if not request.done.done():
                request.done.set_result(None)
        self._after_commit()

    def _tidy(self) -> bool:
        try:
            return self._engine.tidy()
        except BaseException as problem:  # noqa: BLE001 - nothing depends on it, and others wait for this thread
            said = str(problem) if isinstance(problem, InventoryError) else type(problem).__name__
            _logger.warning("store_not_tidied", extra={"problem": said})
            return True


def _copy(problem: Exception) -> Exception:
    """An exception of one's own for each caller, as far as it lets itself be copied."""
    try:
        return copy(problem)
    except Exception:  # noqa: BLE001 - a foreign class may do anything
        return problem


def _thread_safe_call() -> Callable[..., object]:
    """How another thread calls a function in this event loop, without waiting for it: asyncio's way or trio's."""
    loop: Any = anyio.lowlevel.current_token().native_token
    call: Callable[..., object] = loop.call_soon_threadsafe if hasattr(loop, "call_soon_threadsafe") else loop.run_sync_soon
    return call
