"""Consumers that receive all the time, and keep their deliveries until the case answers them."""

from collections.abc import Callable, Collection, Iterator

import anyio
import attrs
from anyio.abc import TaskGroup, TaskStatus
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import Delivery
from inventory_es.testing.contracts.event_bus.harness import TestedBus, TestedSubscription
from inventory_es.testing.promise import MismatchError

_TURNS = 30


@attrs.define(eq=False)
class Worker:
    """One consumer.

    Attributes:
        group: the group that it joins.
        most: the number of unanswered deliveries that it takes.
        held: its unanswered deliveries.
        gone: the deliveries that it left unanswered.
    """

    group: str
    most: int
    held: list[Delivery] = attrs.field(factory=list[Delivery])
    gone: list[Delivery] = attrs.field(factory=list[Delivery])
    has_left: bool = False
    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    consumer: TestedSubscription | None = None

    @property
    def subscription(self) -> TestedSubscription:
        """The subscription, once it has joined."""
        if self.consumer is None:
            msg = "the worker has not joined yet"
            raise RuntimeError(msg)
        return self.consumer


class Crew:
    """The consumers of one bus, in the tasks of one task group."""

    def __init__(self, bus: TestedBus, tasks: TaskGroup) -> None:
        self.workers: list[Worker] = []
        self._bus = bus
        self._tasks = tasks
        self._change = anyio.Event()

    async def join(
        self, group: str, *, most: int = 1_000, types: Collection[str] | None = None, streams: Collection[StreamId] | None = None
    ) -> Worker:
        """Join as one more consumer, which begins to receive."""
        worker = Worker(group, most)
        await self._tasks.start(self._work, worker, types, streams)
        self.workers.append(worker)
        return worker

    async def leave(self, worker: Worker) -> None:
        """Leave, with all deliveries unanswered."""
        worker.scope.cancel()
        self.workers.remove(worker)
        await self.wait_until(lambda: worker.has_left, what="a consumer to leave")

    async def leave_all(self) -> None:
        """Leave with every consumer."""
        for worker in tuple(self.workers):
            await self.leave(worker)

    def held(self) -> Iterator[tuple[Worker, Delivery]]:
        """Return all unanswered deliveries."""
        for worker in self.workers:
            for delivery in worker.held:
                yield worker, delivery

    async def ack(self, worker: Worker, delivery: Delivery) -> None:
        """Acknowledge a delivery."""
        worker.held.remove(delivery)
        await worker.subscription.ack(delivery)
        self.notify()

    async def nack(self, worker: Worker, delivery: Delivery, reason: str) -> None:
        """Refuse a delivery."""
        worker.held.remove(delivery)
        await worker.subscription.nack(delivery, reason)
        self.notify()

    async def settle(self) -> None:
        """Let the event loop turn, so that deliveries that need no wait arrive."""
        for _ in range(_TURNS):
            await checkpoint()

    async def wait_until(self, is_met: Callable[[], bool], *, what: str) -> None:
        """Wait until a condition holds; an event that does not come is lost or held back."""
        patience = self._bus.harness.contract.patience_for_delivery
        if not await self.comes(is_met, within=patience):
            raise MismatchError(
                expected=what,
                got=f"nothing within {patience:g} s",
                meaning="an event was lost, or is held back behind one that nobody answers",
            )

    async def comes(self, is_met: Callable[[], bool], *, within: float) -> bool:
        """Return True if the condition holds within so many seconds."""
        with anyio.move_on_after(within):
            while not is_met():
                await self._change.wait()
        return is_met()

    async def drain(self) -> None:
        """Acknowledge everything, until nothing is due in any group that has a consumer."""
        while True:
            for worker, delivery in tuple(self.held()):
                await self.ack(worker, delivery)
            joined = {worker.group: worker.subscription.model for worker in self.workers}
            due = [name for name, group in joined.items() if not group.is_drained]
            if not due:
                await self.settle()
            if not due and not any(self.held()):
                return
            if due:
                await self.wait_until(lambda: any(self.held()), what=f"a delivery to {due[0]}")

    async def _work(
        self,
        worker: Worker,
        types: Collection[str] | None,
        streams: Collection[StreamId] | None,
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        async with self._bus.join(worker.group, types=types, streams=streams) as consumer:
            worker.consumer = consumer
            task_status.started()
            with worker.scope:
                await self._receive(worker, consumer)
            worker.gone += worker.held
            worker.held.clear()
        worker.has_left = True
        self.notify()

    async def _receive(self, worker: Worker, consumer: TestedSubscription) -> None:
        while True:
            while len(worker.held) >= worker.most:
                await self._change.wait()
            worker.held.append(await consumer.next())
            self.notify()

    async def change(self) -> None:
        """Wait until a delivery comes or is answered, or until :meth:`notify`."""
        await self._change.wait()

    def notify(self) -> None:
        """Wake the tasks that wait for a change."""
        changed, self._change = self._change, anyio.Event()
        changed.set()
