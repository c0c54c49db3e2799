"""Flat combining: callers that meet are served together by one of them.

There is no background task. So the service holds no cancel scope across its ``async with``, and a host has nothing to stop.
The first caller leads. It takes all items that wait, its own included, serves them, and wakes the other callers. Then it hands
the lead to the first caller that came meanwhile. So nothing waits for company (zero added delay), and a batch is exactly what
arrived while the last one was in flight.

Callers that were just woken often come back at once. So a leader lets callers run first that were woken and had no step yet.
That is one step of the event loop, or a turn of threads, which they take in any case. They then share one batch.

The technique is known from concurrent data structures; here the "processors" are tasks of one event loop, or threads.
(Hendler, Incze, Shavit, Tzafrir: Flat Combining and the Synchronization-Parallelism Tradeoff, SPAA 2010.)

The leader serves others, so it must not be cancelled half way: its own cancellation is delivered when its batch is done. A follower
that is cancelled while it waits in the queue is withdrawn. Once its item is taken, the batch goes on, and only its caller does not
learn the outcome. No shield holds against asyncio's own ``Task.cancel``, which ``asyncio.timeout`` and many hosts use. A leader
that it interrupts puts back the items that it left unserved, for the next leader.
"""

import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, ClassVar, Generic, TypeVar

import attrs

from inventory_es.application.commands.waiting import Waiting
from inventory_es.ports.toolkit.waiting import Wakeup

T = TypeVar("T", bound="Item")


@attrs.define(eq=False)
class Item:
    """One caller's place in the queue, with what is to be served.

    Attributes:
        alone: True if no batch may have it: its caller holds the batcher.
        meets: True if other callers run in the same step and are about to come, so that its leader lets them run first.
        outcome: the result, or the exception to raise; ``None`` while there is none.
        leads: True if its caller leads, or was handed the lead.
        is_taken: True if a leader serves it, or did.
        is_gone: True if its caller was cancelled and waits no longer.
        wakeup: awaited by its caller; ``None`` when the caller does not wait, or was woken.
    """

    alone: ClassVar[bool] = False
    meets: bool = attrs.field(default=False, init=False)
    outcome: Any = attrs.field(default=None, init=False)
    leads: bool = attrs.field(default=False, init=False)
    is_taken: bool = attrs.field(default=False, init=False)
    is_gone: bool = attrs.field(default=False, init=False)
    wakeup: Wakeup | None = attrs.field(default=None, init=False)

    @property
    def is_settled(self) -> bool:
        """True if its caller waits for nothing more."""
        return self.outcome is not None


class Callers:
    """The callers of one or more batchers.

    Attributes:
        lock: guards the queues of the batchers, because callers may be threads.
        waiting: how they wait.
        waking: the number of callers that were woken and had no step yet.
    """

    __slots__ = ("lock", "waiting", "waking")

    def __init__(self, waiting: Waiting) -> None:
        self.lock: AbstractContextManager[object] = threading.RLock()
        self.waiting: Waiting = waiting
        self.waking: int = 0


@attrs.define(eq=False)
class Batcher(Generic[T]):
    """A queue whose callers serve one another, one batch at a time.

    An exception of a signal, such as ``KeyboardInterrupt``, may come between any two steps of a thread. So whatever ends a lead can be
    done again from any step on, and is done again if it was interrupted.

    Args:
        callers: its callers, counted with those of other batchers.

    Attributes:
        leader: the item whose caller leads, or leads once it has been woken; ``None`` once nobody leads and nobody waits.
        queue: the items that wait.
    """

    _callers: Callers
    leader: T | None = attrs.field(default=None, init=False)
    queue: deque[T] = attrs.field(factory=deque, init=False)

    async def submit(self, item: T, serve: Callable[[list[T]], Awaitable[None]], limit: int) -> None:
        """Have ``item`` served, by this caller or by another one.

        Args:
            item: what is to be served. One whose caller was cancelled after it was taken may be submitted again, to wait for its outcome.
            serve: gives each item of a batch its outcome; the first item is the caller's own. An item that it leaves without an
                outcome is served again.
            limit: the most items of one batch.
        """
        batch: list[T] = []
        item.is_gone = False
        try:
            with self._callers.lock:
                if self.leader is None and not (self._callers.waking or item.is_taken or item.meets):  # the usual case: nobody to meet
                    self.leader = item
                    item.leads = item.is_taken = True
                    batch = [item]
            if not batch:
                if not await self._wait_to_lead(item):
                    return
                self.take(batch, limit)
            await serve(batch)
            while item.outcome is None and not item.is_settled:
                self._settle(batch)
                del batch[1:]
                self.take(batch, limit)
                await serve(batch)
        except BaseException:
            item.is_gone = True
            raise
        finally:
            if item.leads or item.is_gone:
                try:
                    self._finish(item, batch)
                except BaseException:  # of a signal, in the middle of it
                    self._finish(item, batch)
                    raise

    @asynccontextmanager
    async def hold(self, item: T) -> AsyncGenerator[None, None]:
        """Lead without serving anybody until the block ends. ``item``, which is ``alone``, queues like any other."""
        try:
            await self._wait_to_lead(item)
            self.take([], 1)
            yield
        finally:
            item.is_gone = True
            try:
                self._finish(item, [])
            except BaseException:  # of a signal, in the middle of it
                self._finish(item, [])
                raise

    async def _wait_to_lead(self, item: T) -> bool:
        """Queue an item, unless it is taken, and wait. Return True if its caller leads now: then it is first in the queue."""
        wakeup: Wakeup | None = None
        with self._callers.lock:
            if not item.is_taken:
                self.queue.append(item)
            if self.leader is None:
                self.leader = item
                item.leads = True
            else:
                wakeup = item.wakeup = self._callers.waiting.wakeup()
        if wakeup is not None:
            try:
                await wakeup
            except BaseException:
                item.is_gone, item.leads = True, False
                raise
            finally:
                with self._callers.lock:
                    if item.wakeup is not wakeup:  # somebody woke it
                        self._callers.waking -= 1
                    item.wakeup = None
            if not item.leads:
                return False
        if self._callers.waking or item.meets:
            try:
                await self._callers.waiting.give_way()
            except BaseException:  # asyncio's own cancellation
                item.is_gone, item.leads = True, False
                raise
        return True

    def take(self, batch: list[T], limit: int) -> None:
        """Fill a batch from the queue. A leader may do so again while it serves. What is in both is in the queue."""
        with self._callers.lock:
            queue = self.queue
            while queue and len(batch) < limit and not (batch and queue[0].alone):
                item = queue[0]
                item.is_taken = True
                batch.append(item)
                queue.popleft()

    def _settle(self, batch: Sequence[T]) -> None:
        """Wake the followers of a batch that are served, and queue the others again, before all that came later."""
        with self._callers.lock:
            for item in reversed(batch[1:]):
                if not (item.is_settled or item.is_gone or item in self.queue):
                    self.queue.appendleft(item)
                item.is_taken = item.is_settled
            for item in batch[1:]:
                if item.is_settled:
                    self._wake(item)

    def _finish(self, item: T, batch: Sequence[T]) -> None:
        """End a caller's lead, or its wait: settle its batch, and let the first that waits lead. Idempotent."""
        with self._callers.lock:
            if item.is_gone:
                item.wakeup = None  # whoever wakes it would count a caller that takes no step any more
                if item in self.queue:  # interrupted before it was taken
                    self.queue.remove(item)
            if len(batch) > 1:
                self._settle(batch)
            if self.leader is item:
                self.leader = self.queue[0] if self.queue else None
            leader = self.leader
            if leader is not None and self.queue and self.queue[0] is leader:
                leader.leads = True
                self._wake(leader)

    def _wake(self, item: T) -> None:
        if (wakeup := item.wakeup) is not None and not wakeup.done():
            wakeup.set_result(None)
            self._callers.waking += 1
            item.wakeup = None
