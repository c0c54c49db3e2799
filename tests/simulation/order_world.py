"""Orders in a simulated world.

Nodes die, clocks jump, and appends get lost or arrive late. Customers send twice and in any order, clerks count stock, and several runners
work at the same time.
"""

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar, cast

import attrs

from inventory_es.adapters.memory import MemoryEventLog, MemoryEventStore
from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.application.engine import EngineParts
from inventory_es.application.service import InventoryService
from inventory_es.domain.commands import AddStock, AdjustStock, Command, ReserveStock
from inventory_es.domain.errors import InventoryError, RejectionError
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.processes.lines import OrderItem
from inventory_es.domain.processes.order.commands import AuthorisePayment, CancelOrder, OrderCommand, PlaceOrder, ResolveOrder, ShipOrder
from inventory_es.domain.reasons import AdjustReason, Shortfall
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, StoreCapabilities, StreamWrite
from inventory_es.ports.toolkit.append_rules import check_append
from inventory_es.processes import Orders, OrderStatus
from inventory_es.testing.domain.scenarios import START
from inventory_es.testing.faults import FaultKind, Faults, faulty_event_store
from inventory_es.testing.simulation.node import Incarnation, NodeClock, WorldClock, node_store
from inventory_es.testing.simulation.scheduler import Scheduler, StoppedError

T = TypeVar("T")

CODEC = JsonEventCodec()
_KINDS: tuple[FaultKind, ...] = ("fail_before", "fail_after", "delay", "drop", "duplicate", "reorder")
_MOST_TURNS = 150_000
_CALM = 40


class PoorStore(MemoryEventStore):
    """A store that appends to several streams at once, or can't, and never knows a version without a read."""

    is_atomic = True

    @property
    def capabilities(self) -> StoreCapabilities:
        return attrs.evolve(super().capabilities, multi_stream=self.is_atomic)

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        check_append(writes, self.capabilities, store="PoorStore")
        return await super().append(writes)

    def glance_version(self, stream: StreamId, /) -> None:
        return None


class Watched(InventoryService):
    """A service that remembers every command that was sent through it."""

    sent: list[Command]

    async def execute(self, command: Command, *, expected_version: int | None = None) -> Any:
        self.sent.append(command)
        return await super().execute(command, expected_version=expected_version)

    async def execute_all(self, commands: Sequence[Command], **more: Any) -> Any:
        self.sent.extend(commands)
        return await super().execute_all(commands, **more)


@attrs.define(eq=False)
class OrderNode:
    """A node: a service with its orders, which a restart takes away."""

    name: str
    clock: NodeClock
    life: Incarnation
    service: Watched
    orders: Orders
    feed: Any


@attrs.frozen
class Plan:
    """The plan that a seed draws."""

    is_atomic: bool
    nodes: int
    fault_rate: float
    restarts: tuple[int, ...]
    jumps: tuple[int, ...]
    heals_at: int
    patience: timedelta
    shelves: tuple[InventoryId, ...]
    opening: int
    orders: tuple[PlaceOrder, ...]

    @classmethod
    def by_seed(cls, seed: int) -> "Plan":
        chance = random.Random(f"orders:{seed}")
        shelves = tuple(InventoryId(f"p{number}", f"s{number % 2}") for number in range(chance.randint(2, 4)))
        ttl = timedelta(seconds=chance.choice((4, 10, 3_600)))
        orders = []
        for number in range(chance.randint(2, 6)):
            chosen = chance.choices(shelves, k=chance.randint(1, 4))
            items = tuple(OrderItem(one.product_id, one.store_id, chance.randint(1, 3)) for one in chosen)
            orders.append(PlaceOrder(order_id=f"O{number}", lines=items, ttl=ttl))
        return cls(
            is_atomic=chance.random() < 0.4,
            nodes=chance.randint(2, 3),
            fault_rate=chance.choice((0.0, 0.02, 0.08)),
            restarts=tuple(sorted(chance.randrange(20, 1_500) for _ in range(chance.randint(0, 10)))),
            jumps=tuple(sorted(chance.randrange(20, 1_500) for _ in range(chance.randint(0, 4)))),
            heals_at=chance.randint(500, 4_000),
            patience=timedelta(seconds=chance.choice((0, 0.5, 3))),
            shelves=shelves,
            opening=chance.randint(2, 9),
            orders=tuple(orders),
        )


class OrderWorld:
    """One simulated run. Make it inside the event loop.

    Args:
        seed: decides every choice.
        open_orders: makes the orders of a node, perhaps those of a mutant.
    """

    def __init__(self, seed: int, open_orders: Callable[[InventoryService], Orders] = Orders) -> None:
        self.plan = Plan.by_seed(seed)
        self.chance = random.Random(f"order world:{seed}")
        self.scheduler = Scheduler(seed, most=_MOST_TURNS, before_each=self._before_turn)
        self.clock = WorldClock(START, self.scheduler)
        self.log = MemoryEventLog()
        self.sent: list[Command] = []
        self.taken: list[OrderCommand] = []
        self.counts: Counter[str] = Counter()
        self.trace: list[str] = []
        self.busy = 0
        self.is_stormy = False
        self.is_over = False
        self._open_orders = open_orders
        self._lives = 0
        self._restarts = list(self.plan.restarts)
        self._jumps = list(self.plan.jumps)
        self._faults = Faults(self._choose, turns=2)
        self._looks: dict[str, datetime] = {}
        self.nodes: list[OrderNode] = []

    async def play(self) -> None:
        """Play from the first delivery until no task is left."""
        for number in range(self.plan.nodes):
            self.nodes.append(await self._boot(f"node-{number}", NodeClock(self.clock)))
        for shelf in self.plan.shelves:
            await self.nodes[0].service.execute(AddStock(inventory_id=shelf, command_id="opening", quantity=self.plan.opening))
        self.is_stormy = True
        for number in range(self.plan.nodes):
            self.scheduler.start(f"runner {number}", self._run_orders(number))
        for place in self.plan.orders:
            self._start(f"customer of {place.order_id}", self._shop(place))
        self._start("clerk", self._meddle())
        while self.busy and self.scheduler.count < self.plan.heals_at:
            await self.scheduler.sleep(0.5)
        self.is_stormy = False
        for node in self.nodes:
            node.clock.skew = timedelta(0)
        self.clock.reach(max(one.recorded_at for one in self.log.read_feed(0, self.log.head)))
        while self.busy:
            await self.scheduler.sleep(0.5)
        await self.settle()

    async def pass_time(self) -> None:
        """Let time pass until all reservations have expired."""
        self.clock.reach(self.clock.now() + timedelta(hours=2))
        await self.settle()

    def note(self, line: str) -> None:
        self.trace.append(f"{self.scheduler.count:>6} {self.scheduler.now:9.3f}  {line}")

    def _start(self, name: str, call: Any) -> None:
        async def work() -> None:
            try:
                await call
            finally:
                self.busy -= 1

        self.busy += 1
        self.scheduler.start(name, work())

    async def _boot(self, name: str, clock: NodeClock) -> OrderNode:
        self._lives += 1
        life = Incarnation(self._lives)
        handle = PoorStore(self.log)
        handle.is_atomic = self.plan.is_atomic
        store = faulty_event_store(node_store(handle, life, self), self._faults)
        parts = EngineParts(
            codec=CODEC,
            clock=clock,
            ids=life,
            chance=self.chance.random,
            sleep=self.scheduler.sleep,
            monotonic=self.scheduler.monotonic,
        )

        async def give() -> Any:
            return store

        service = Watched(give, parts, owns_store=False)
        service.sent = self.sent
        await service.__aenter__()
        return OrderNode(name, clock, life, service, self._open_orders(service), store)

    def met_conflict(self) -> None:
        """Count an append that met another version than it expected."""
        self.counts["conflicts"] += 1

    def send_late(self, life: Incarnation, call: Callable[[], Awaitable[object]]) -> None:
        """Let an append that was under way when its node ended arrive later, or get lost."""
        if life.is_stopped and self.chance.random() < 0.5:
            self.scheduler.start(f"a late append of life {life.number}", self._arrive(call))

    async def _arrive(self, call: Callable[[], Awaitable[object]]) -> None:
        await self.scheduler.sleep(2 * self.chance.random())
        try:
            await call()
            self.counts["late appends"] += 1
        except InventoryError as problem:
            self.note(f"late append: {problem.code}")

    def _choose(self, operation: str, _number: int) -> FaultKind | None:
        if not self.is_stormy or self.chance.random() >= self.plan.fault_rate:
            return None
        self.counts["faults"] += 1
        kind: FaultKind = self.chance.choice(_KINDS)
        self.note(f"{kind} at {operation}")
        return kind

    def _before_turn(self) -> None:
        while self.is_stormy and self._restarts and self._restarts[0] <= self.scheduler.count:
            self._restarts.pop(0)
            self.scheduler.start("operator", self._restart(self.chance.randrange(len(self.nodes))))
        while self.is_stormy and self._jumps and self._jumps[0] <= self.scheduler.count:
            self._jumps.pop(0)
            node = self.chance.choice(self.nodes)
            node.clock.skew += timedelta(seconds=self.chance.choice((-40, -5, 5, 30, 50)))
            self.counts["jumps"] += 1

    async def _restart(self, number: int) -> None:
        old = self.nodes[number]
        old.life.is_stopped = True
        self.note(f"{old.name} ends and starts again")
        self.nodes[number] = await self._boot(old.name, old.clock)
        self.counts["restarts"] += 1

    async def at(self, node: OrderNode, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call in a node, which ends together with the node."""
        task = self.scheduler.running
        task.process = node.life
        try:
            return await call()
        finally:
            task.process = None

    async def send(self, command: OrderCommand) -> bool:
        """Send a command to some node until it has an answer. Return True if it was accepted."""
        for _ in range(400):
            node = self.chance.choice(self.nodes)
            try:
                order = await self.at(node, partial(node.orders.execute, command))
            except RejectionError as refusal:
                self.note(f"{command}: {refusal.code}")
                return False
            except InventoryError as problem:
                self.note(f"{command.command_id} of {command.order_id}: {problem.code}")
            except StoppedError:
                if not node.life.is_stopped:
                    raise
            else:
                self.note(f"{command.command_id} of {command.order_id}: {order.status} at {order.version}")
                self.counts["answers"] += 1
                self.taken.append(command)
                return True
            await self.scheduler.sleep(0.2 + self.chance.random())
        msg = f"{command} has no answer"
        raise AssertionError(msg)

    async def _twice(self, command: OrderCommand) -> bool:
        """Send a command, now and then twice at the same time."""
        if self.chance.random() < 0.3:
            self._start("a duplicate", self.send(command))
        return await self.send(command)

    async def _shop(self, place: PlaceOrder) -> None:
        """Play one customer, who places an order, waits, pays or does not, is shipped parcels, and may cancel."""
        chance, order_id = self.chance, place.order_id
        pay = AuthorisePayment(order_id=order_id, payment_id=f"pay {order_id}")
        await self.scheduler.sleep(chance.random() * 5)
        if chance.random() < 0.1:
            self._start("an early payment", self.send(pay))
        await self._twice(place)
        await self.scheduler.sleep(min(20.0, chance.choice((0.0, 0.1, 1.5)) * place.ttl.total_seconds()))
        fate = chance.random()
        if fate < 0.15:
            await self._twice(CancelOrder(order_id=order_id))
            return
        if fate < 0.3:
            return
        if fate < 0.4:
            self._start("another mind", self.send(CancelOrder(order_id=order_id)))
        await self._twice(pay)
        for number in range(chance.randint(0, 2)):
            await self.scheduler.sleep(chance.random() * 4)
            line = chance.choice(place.lines)
            part = (OrderItem(line.product_id, line.store_id, chance.randint(1, line.quantity)),)
            await self._twice(ShipOrder(order_id=order_id, shipment_id=f"x{number}", lines=part))
        if chance.random() < 0.15:
            await self._twice(CancelOrder(order_id=order_id))
        await self._twice(ShipOrder(order_id=order_id, shipment_id="rest"))

    async def _meddle(self) -> None:
        """Add, lose and reserve stock, and count it so that reservations are bumped."""
        for number in range(8):
            await self.scheduler.sleep(self.chance.random() * 6)
            shelf = self.chance.choice(self.plan.shelves)
            commands: list[Command] = [
                AddStock(inventory_id=shelf, command_id=f"more {number}", quantity=self.chance.randint(1, 4)),
                ReserveStock(inventory_id=shelf, reservation_id=f"R{number}", quantity=1, ttl=timedelta(seconds=8)),
                AdjustStock(inventory_id=shelf, command_id=f"lost {number}", delta=-1, reason=AdjustReason.LOSS, shortfall=Shortfall.BUMP),
            ]
            node = self.chance.choice(self.nodes)
            try:
                await self.at(node, partial(node.service.execute, self.chance.choice(commands)))
            except InventoryError as problem:
                self.note(f"clerk: {problem.code}")
            except StoppedError:
                if not node.life.is_stopped:
                    raise

    async def _run_orders(self, number: int) -> None:
        """Play a runner without a lease. In this worst case all runners work at the same time, each from the feed."""
        position = 0
        looks: dict[str, datetime] = {}
        while not self.is_over:
            await self.scheduler.sleep(0.7)
            node = self.nodes[number]
            try:
                position = await self.at(node, partial(self._runner_turn, node, position, looks))
            except InventoryError as problem:
                self.note(f"runner {number}: {problem.code}")
            except StoppedError:
                if not node.life.is_stopped:
                    raise
                position, looks = 0, {}

    async def _runner_turn(self, node: OrderNode, position: int, looks: dict[str, datetime]) -> int:
        page = await node.feed.read_all(after=position, limit=50)
        for recorded in page.events:
            touch = node.orders.touch(recorded) if node.orders.watched.takes(recorded) else None
            if touch is not None and touch.is_over:
                looks.pop(touch.process_id, None)
            elif touch is not None:
                looks[touch.process_id] = recorded.recorded_at + self.plan.patience
        now = node.clock.now()
        for order_id, due_at in sorted(looks.items()):
            if due_at <= now:
                self.counts["looks"] += 1
                again = await node.orders.look(order_id)
                if again is None:
                    del looks[order_id]
                else:
                    looks[order_id] = again
        return cast(int, page.next_after)

    async def settle(self) -> None:
        """Let the runners complete everything, once faults have stopped and no command is sent."""
        quiet, head = 0, -1
        while quiet < _CALM:
            await self.scheduler.sleep(1.0)
            quiet = quiet + 1 if self.log.head == head else 0
            head = self.log.head

    async def resolve_all(self) -> None:
        """Resolve every order that needs a person."""
        for place in self.plan.orders:
            order = await self.nodes[0].orders.order(place.order_id)
            if order.status in {OrderStatus.NEEDS_ATTENTION, OrderStatus.NEEDS_REFUND}:
                await self.nodes[0].orders.execute(ResolveOrder(order_id=place.order_id))
