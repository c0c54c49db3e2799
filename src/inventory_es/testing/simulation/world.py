"""The simulated world: one log, some nodes, a bus and a cache, with disturbances, and the trace of it all."""

import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import cast

import attrs

from inventory_es.adapters.memory.event_store import MemoryEventLog
from inventory_es.application.engine import EngineParts
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import Cache, EventBus, EventFeed, RecordedEvent
from inventory_es.ports.errors import EventBusUnavailableError, StoreClosedError, StoreUnavailableError, UnavailableError
from inventory_es.ports.toolkit.page_rules import read_feed_page
from inventory_es.testing.domain.scenarios import START
from inventory_es.testing.faults import FaultKind, Faults, FaultyCache, FaultyEventBus, faulty_event_store
from inventory_es.testing.simulation.node import Incarnation, Node, NodeClock, WorldClock, node_store
from inventory_es.testing.simulation.plan import Disturbance, Plan
from inventory_es.testing.simulation.scheduler import Scheduler
from inventory_es.testing.simulation.subject import Consumer, Subject

MOST_TURNS = 40_000
_OFTEN = 3
_KINDS: tuple[FaultKind, ...] = ("fail_before", "fail_after", "delay", "drop", "duplicate", "reorder")
_PAGE = 4
SETTLES_WITHIN = 2.5
"""Virtual seconds after which every append is settled, also one that was under way when its node ended."""


@attrs.define
class Counts:
    """Counts of what happened in a simulation.

    Attributes:
        turns: turns of all tasks.
        commands: commands that were sent, repetitions included.
        accepted: commands that were newly accepted.
        replayed: commands that were answered with an earlier acceptance.
        refused: commands that were refused, or were no-ops.
        unknown: commands whose sender did not learn the outcome.
        events: events in the log.
        faults: calls to a store, a bus or a cache that failed.
        restarts: restarts of nodes.
        jumps: jumps of clocks.
        conflicts: appends that met another version than they expected.
        reads: answers from the stream and from the cache.
        late: appends that were carried out, or refused, after their sender heard that the outcome is unknown.
    """

    turns: int = 0
    commands: int = 0
    accepted: int = 0
    replayed: int = 0
    refused: int = 0
    unknown: int = 0
    events: int = 0
    faults: int = 0
    restarts: int = 0
    jumps: int = 0
    conflicts: int = 0
    reads: int = 0
    late: int = 0


class World:
    """Everything that outlives a node. Make it inside the event loop.

    Args:
        plan: programs and disturbances.
        seed: decides every choice.
        subject: the parts under test.

    Attributes:
        scheduler: runs all tasks.
        clock: the true time.
        log: the log that all stores share.
        nodes: the application.
        bus: the bus of all nodes, with its faults.
        cache: the cache of all nodes, with its faults.
        consumers: the readers of the bus.
        trace: one line per occurrence.
        counts: how much happened.
        is_stormy: True while faults happen.
        is_over: True once all background tasks are to end.
    """

    def __init__(self, plan: Plan, seed: int, subject: Subject) -> None:
        self.plan = plan
        self.subject = subject
        self.chance: random.Random = random.Random(f"world:{seed}")
        self.scheduler: Scheduler = Scheduler(seed, most=MOST_TURNS, before_each=self._before_turn)
        self.clock: WorldClock = WorldClock(START, self.scheduler)
        self.log: MemoryEventLog = MemoryEventLog()
        self.trace: list[str] = []
        self.counts: Counts = Counts()
        self.is_stormy: bool = False
        self.is_over = False
        self._lives = 0
        self._storm_began = 0
        self._published = 0
        self._seen = 0
        self._appends = 0
        self._planned: dict[int, FaultKind] = {number: kind for program in plan.programs for number, kind in program.faults}
        self._ahead = sorted(plan.disturbances, key=lambda one: one.turn)
        often = min(1.0, _OFTEN * plan.fault_rate)
        self._store_faults = self._faults("store", plan.fault_rate)
        self.bus: EventBus = FaultyEventBus(subject.open_bus(self.clock), self._faults("bus", often))
        self._open_cache = subject.open_cache(self.clock)
        self.cache: Cache = FaultyCache(self._open_cache, self._faults("cache", often))
        self.consumers: list[Consumer] = [subject.consumer(subject.codec) for _ in range(2)]
        self.nodes: list[Node] = [self._boot(f"node-{number}", NodeClock(self.clock)) for number in range(plan.nodes)]

    def note(self, line: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.scheduler.count:>6} {self.scheduler.now:10.4f}  {line}")

    def begin_storm(self) -> None:
        """Let faults happen from now on, and start the nodes' consumers and relays."""
        self.is_stormy = True
        self._storm_began = self.scheduler.count
        for number in range(len(self.nodes)):
            self._start_background(number)

    def end_storm(self) -> None:
        """Stop the faults, and set every clock right, no earlier than the newest event."""
        self.is_stormy = False
        self._ahead.clear()
        for node in self.nodes:
            node.clock.skew = timedelta(0)
        newest = max((one.recorded_at for one in self.log.read_feed(0, self.log.head)), default=START)
        self.clock.reach(newest)
        self.note("the storm is over")

    def restart(self, number: int) -> None:
        """End a node together with all its work in progress, and start the node again."""
        old = self.nodes[number]
        old.life.is_stopped = True
        self.nodes[number] = self._boot(old.name, old.clock)
        self._start_background(number)
        self.counts.restarts += 1

    def _boot(self, name: str, clock: NodeClock) -> Node:
        self._lives += 1
        life = Incarnation(self._lives)
        store = faulty_event_store(node_store(self.subject.open_store(self.log), life, self), self._store_faults)
        parts = EngineParts(
            codec=self.subject.codec,
            clock=clock,
            ids=life,
            chance=self.chance.random,
            sleep=self.scheduler.sleep,
            monotonic=self.scheduler.monotonic,
        )
        return Node(name, clock, life, self.subject.assemble(store, parts), cast(EventFeed, store))

    def _faults(self, where: str, rate: float) -> Faults:
        def choose(operation: str, number: int) -> FaultKind | None:
            if not self.is_stormy:
                return None
            is_hit = self.chance.random() < rate
            drawn: FaultKind = self.chance.choice(_KINDS)
            kind: FaultKind | None = drawn if is_hit else None
            if operation in {"append", "append_group"}:
                self._appends += 1
                planned: FaultKind | None = self._planned.get(self._appends)
                if self.plan.late_rate and self.chance.random() < self.plan.late_rate:
                    kind = "late"
                kind = planned or kind
            if kind is not None:
                self.counts.faults += 1
                self.note(f"{self.scheduler.running.name}: {kind} at {where}.{operation} {number}")
            return kind

        return Faults(choose, turns=2, later=self._let_arrive_later, settles_within=SETTLES_WITHIN)

    def _let_arrive_later(self, call: Callable[[], Awaitable[object]]) -> None:
        life = self.scheduler.running.process
        self.counts.late += 1
        if isinstance(life, Incarnation):
            life.in_flight += 1
            self.scheduler.start(f"a late append of life {life.number}", self._arrive(life, call))

    def met_conflict(self) -> None:
        """Count an append that met another version than it expected."""
        self.counts.conflicts += 1

    def send_late(self, life: Incarnation, call: Callable[[], Awaitable[object]]) -> None:
        """Let an append that was under way when its node ended arrive later, or get lost."""
        if life.is_stopped and self.chance.random() < 0.5:
            life.in_flight += 1
            self.scheduler.start(f"a late append of life {life.number}", self._arrive(life, call))

    async def _arrive(self, life: Incarnation, call: Callable[[], Awaitable[object]]) -> None:
        await self.scheduler.sleep(2 * self.chance.random())
        try:
            await call()
        except Exception as problem:  # noqa: BLE001  # no sender is left to hear of it
            self.note(f"a late append of life {life.number}: {type(problem).__name__}")
        finally:
            life.in_flight -= 1

    def _start_background(self, number: int) -> None:
        node = self.nodes[number]
        if number == 0:
            self.scheduler.start(f"{node}: relay", self._relay(node), node.life)
        for place, consumer in enumerate(self.consumers):
            if place % len(self.nodes) == number:
                group = f"projection-{place}"
                self.scheduler.start(f"{node}: {group} follows", self._follow(node, consumer), node.life)
                self.scheduler.start(f"{node}: {group} listens", self._listen(node, consumer, group), node.life)

    async def _relay(self, node: Node) -> None:
        while not self.is_over:
            try:
                page = await read_feed_page(node.feed, after=self._published, limit=_PAGE)
                if page.events:
                    await self._publish(node, page.events)
                    await self.scheduler.sleep(0.0)
                self._published = page.next_after
                await self.scheduler.sleep(0.0 if not page.is_end else 0.7)
            except UnavailableError:
                await self.scheduler.sleep(0.3)
            except StoreClosedError:
                return

    async def _publish(self, node: Node, events: Sequence[RecordedEvent]) -> None:
        """Publish, and let the bus finish also if the node ends meanwhile."""
        task = self.scheduler.running
        task.process = None
        try:
            await self.bus.publish(events)
        finally:
            task.process = node.life

    async def _follow(self, node: Node, consumer: Consumer) -> None:
        while not self.is_over:
            await self.scheduler.sleep(2.0)
            try:
                await consumer.catch_up(node.feed)
            except StoreUnavailableError:
                self.note(f"{self.scheduler.running.name}: tries again")

    async def _listen(self, node: Node, consumer: Consumer, group: str) -> None:
        try:
            async with self.bus.subscribe(group) as subscription:
                async for delivery in subscription:
                    await self._handle(node, consumer, delivery.event)
                    try:
                        await delivery.ack()
                    except EventBusUnavailableError:
                        self.note(f"{self.scheduler.running.name}: could not acknowledge")
        except StoreClosedError:
            self.note(f"{self.scheduler.running.name}: the bus is closed")

    async def _handle(self, node: Node, consumer: Consumer, event: RecordedEvent) -> None:
        is_next = consumer.take(event)
        self.note(f"{self.scheduler.running.name}: {event.stream}@{event.version}{'' if is_next else ', missing one before'}")
        key = cache_key(event.stream)
        try:
            await self.cache.invalidate(key)
            if not is_next:
                await consumer.catch_up(node.feed)
        except UnavailableError:
            self.note(f"{self.scheduler.running.name}: left it to the next time")

    def _before_turn(self) -> None:
        if self.log.head != self._seen:
            for one in self.log.read_feed(self._seen, self.log.head):
                self.note(f"log: {one.stream}@{one.version} {one.event_type} {one.recorded_at.isoformat()} at {one.position}")
            self._seen = self.log.head
        self.counts.turns = self.scheduler.count
        self.counts.events = self._seen
        while self.is_stormy and self._ahead and self._ahead[0].turn <= self.scheduler.count - self._storm_began:
            self._disturb(self._ahead.pop(0))

    def _disturb(self, one: Disturbance) -> None:
        node = self.nodes[one.node % len(self.nodes)]
        match one.kind:
            case "restart":
                self.note(f"{node} ends and starts again")
                self.restart(one.node % len(self.nodes))
            case "jump":
                self.note(f"the clock of {node} jumps by {one.seconds:g} s")
                node.clock.skew += timedelta(seconds=one.seconds)
                self.counts.jumps += 1
            case "forget":
                self.note("the cache loses everything")
                self.scheduler.start("the cache's owner", self._open_cache.clear())


def cache_key(stream: StreamId) -> str:
    """Return the cache key of the inventory of a stream."""
    return f"stock:{stream}"
