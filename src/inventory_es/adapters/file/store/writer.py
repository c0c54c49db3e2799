"""The one thread that writes: whatever arrives while a commit is in flight shares the next one."""

import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from copy import copy
from math import inf
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import anyio
import anyio.lowlevel
import attrs

from inventory_es.adapters.file.store.file_store import FileStore
from inventory_es.domain.errors import InventoryError
from inventory_es.ports.errors import StoreClosedError
from inventory_es.ports.records import AppendResult, StreamWrite
from inventory_es.ports.toolkit.blocking_calls import WithdrawnError, must_finish, wanted_while
from inventory_es.ports.toolkit.waiting import Wakeup, futures

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
    is_answered: bool = False
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
class PriorityRequest:
    """The wish to write before others do. Put into the queue when it is asked for, and again when it is over."""

    has_begun: anyio.Event
    is_over: bool = False


_Waiting = deque[_Request | PriorityRequest | None]


class CommitWriter:
    """Runs the commits of one engine, one at a time, in a thread of its own; its tasks are those of one event loop.

    When nothing has arrived for 200 ms it tidies; under steady load, when the people's files are 100,000 events behind. If the thread
    ends with an unexpected error, all who wait and all who come later are told so by ``StoreClosedError``.

    Args:
        engine: what it drives.
        after_commit: called in the event loop after each commit. The thread holds it, so it must not hold who drops the writer.
    """

    def __init__(self, engine: FileStore, after_commit: Callable[[], None]) -> None:
        self._engine = engine
        self._after_commit = after_commit
        self._queue: SimpleQueue[_Request | PriorityRequest | None] = SimpleQueue()
        self._call_soon = _thread_safe_call()
        self._future = futures()
        self._finished = anyio.Event()
        self._is_let_go = False
        self._taken: list[_Request] = []
        self._left: list[_Request] = []
        self._delivered: anyio.Event | None = None
        self._waiting: _Waiting = deque()
        self._failure: StoreClosedError | None = None
        self._thread = Thread(target=self._run, name="inventory_es file store writer", daemon=True)
        self._thread.start()

    async def commit(self, groups: Groups) -> Sequence[AppendResult | Exception]:
        """Run these appends in the next commit; see :meth:`FileStore.commit`.

        Cancelled before the commit begins, nothing of it runs, and ``WithdrawnError`` is the cause of the cancellation. After that its
        outcome is unknown to the caller; in :func:`finishing` it is finished and answered, unless asyncio's own cancellation ends the wait.
        """
        request = _Request(groups, self._wakeup(), [None])
        self._queue.put(request)
        if self._failure is not None and request.take():  # nobody else looks into the queue any more
            raise self._failure
        try:
            await request.done
        except BaseException as cancelled:
            if request.take():
                raise cancelled from WithdrawnError()
            try:
                if not must_finish() or anyio.current_effective_deadline() != -inf:
                    raise
                with anyio.CancelScope(shield=True):
                    while not request.is_answered:
                        request.done = self._wakeup()
                        await request.done
            finally:
                if not request.is_answered:
                    self._left.append(request)
        if request.error is not None:
            raise request.error
        return request.outcomes

    async def settle(self) -> None:
        """Wait for the commits that go on although their callers were cancelled."""
        while self._left and (left := [one for one in self._left if not one.is_answered]):
            self._left = left
            self._delivered = self._delivered or anyio.Event()
            await self._delivered.wait()
        self._left = []

    def _wakeup(self) -> Wakeup:
        return self._future() or Wakeup(anyio.Event())

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None, None]:
        """Keep other handles from committing, but for no longer than the event loop goes on; one at a time."""
        turn = PriorityRequest(anyio.Event())
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
                item = self._waiting.popleft() if self._waiting else self._queue.get_nowait()
                if isinstance(item, _Request) and item.take():
                    waiting.append(item)
                elif isinstance(item, PriorityRequest):  # what it wants to append is refused
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

    def _serve(self, item: _Request | PriorityRequest | None) -> bool:
        """Do what was asked for, and what was asked for meanwhile; ``False``: that was to stop."""
        waiting = self._waiting
        waiting.append(item)
        while waiting:
            first = waiting[0]
            if isinstance(first, _Request):
                self._commit()
                continue
            waiting.popleft()
            if first is None or not (first.is_over or self._take_turn(first)):
                return False
        return True

    def _take_turn(self, turn: PriorityRequest) -> bool:
        """Serve this process alone until its turn is over, or nothing is heard of it; ``False``: stop."""
        try:
            with wanted_while(lambda: not turn.is_over), self._engine.turn():
                self._call_soon(turn.has_begun.set)
                while not turn.is_over:
                    if not self._serve(self._queue.get(timeout=_LONGEST_PAUSE)):
                        return False
        except Empty:
            _logger.debug("store_turn_lapsed")
        except Exception as problem:
            if self._taken:
                raise
            _logger.debug("store_turn_not_given", extra={"problem": type(problem).__name__})
        finally:
            self._call_soon(turn.has_begun.set)
        return True

    def _commit(self) -> None:
        """Commit the requests at the front together. They are taken when nobody else writes; until then, each may be withdrawn."""
        try:
            with wanted_while(self._is_wanted):
                outcomes = self._engine.commit_taken(self._take)
        except WithdrawnError:
            while self._waiting and isinstance(self._waiting[0], _Request):
                self._waiting.popleft()
            return
        except Exception as problem:  # noqa: BLE001 - whatever it is belongs to the callers
            if not self._taken:
                self._take()
            requests = self._taken
            for request in requests:
                request.error = problem if len(requests) == 1 else _copy(problem)
        else:
            requests = self._taken
            at = 0
            for request in requests:
                request.outcomes = outcomes[at : at + len(request.groups)]
                at += len(request.groups)
        self._call_soon(self._deliver, requests)
        self._taken = []
        self._engine.settle()

    def _is_wanted(self) -> bool:
        """Whether anybody still waits for a commit, now that it has to wait for the lock."""
        while not self._queue.empty():
            self._waiting.append(self._queue.get())
        return any(isinstance(one, _Request) and one.ticket for one in self._waiting)

    def _take(self) -> Groups:
        """Take the requests at the front, and in the queue behind them, that were not withdrawn; gives their appends."""
        waiting, taken = self._waiting, self._taken
        groups: list[Sequence[StreamWrite]] = []
        while len(groups) < _MAX_GROUPS and (waiting or not self._queue.empty()):
            request = waiting.popleft() if waiting else self._queue.get()
            if not isinstance(request, _Request):
                waiting.appendleft(request)
                break
            if request.take():
                taken.append(request)
                groups += request.groups
        return groups

    def _deliver(self, requests: list[_Request]) -> None:
        for request in requests:
            request.is_answered = True
            if not request.done.done():
                request.done.set_result(None)
        if self._delivered is not None:
            self._delivered.set()
            self._delivered = None
        try:
            self._after_commit()
        except Exception:
            _logger.exception("after_commit_failed", extra={"store": self._engine.name})  # raised, it would end trio's event loop

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
