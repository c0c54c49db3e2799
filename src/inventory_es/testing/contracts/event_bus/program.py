"""EB-24: in any program of publishers and consumers, the model allows every delivery and every dead letter."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import anyio

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import RecordedEvent
from inventory_es.ports.errors import StoreClosedError
from inventory_es.testing.contracts.core.event_labels import EVENT_TYPE, event_id
from inventory_es.testing.contracts.event_bus.consumers import Crew
from inventory_es.testing.contracts.event_bus.harness import BusHarness, TestedBus
from inventory_es.testing.contracts.event_bus.model import GroupModel
from inventory_es.testing.promise import promise

_STEPS = 50
_OPENINGS = 2
_MOST_CONSUMERS = 2
_OTHER_TYPE = "OtherEvent"
_STREAMS = (StreamId("contract", "x"), StreamId("contract", "X"), StreamId("contract_2", "x"), StreamId("contract", "x", "y"))
_FILTERS: dict[str, tuple[tuple[str, ...] | None, tuple[StreamId, ...] | None]] = {
    "g": (None, None),
    "G": ((EVENT_TYPE,), None),
    "h": (None, _STREAMS[1:3]),
    "late": (None, None),
    "late too": ((_OTHER_TYPE,), _STREAMS[:2]),
}
_WEIGHTS = {"publish": 9, "ack": 9, "nack": 6, "leave": 2, "join": 2, "answer late": 2, "read letters": 2, "redeliver": 2}


class ProgramCases:
    """Cases of seeded programs."""

    @promise(
        "EB-24",
        "Whatever consumers do, each group gets each event that its filter takes, per stream in order, one at a time.",
        seeds=3,
    )
    async def test_eb_24_a_program(self, harness: BusHarness) -> None:
        program = _Program(harness)
        is_durable = True
        for number in range(_OPENINGS):
            if is_durable:
                async with harness.open() as bus, anyio.create_task_group() as tasks:
                    await program.play(bus, Crew(bus, tasks), is_last=number == _OPENINGS - 1 or not bus.capabilities.durable)
                is_durable = bus.capabilities.durable


class _Program:
    def __init__(self, harness: BusHarness) -> None:
        self._harness = harness
        self._chance = harness.run.schedule.chance
        self._counts = dict.fromkeys(_STREAMS, 0)

    async def play(self, bus: TestedBus, crew: Crew, *, is_last: bool) -> None:
        """Take some steps, then receive everything that is due."""
        self._bus, self._crew = bus, crew
        for group in ("g", "G", "h"):
            await self._join(group)
        steps: dict[str, Callable[[], Awaitable[None]]] = {
            "publish": self._publish,
            "ack": self._ack,
            "nack": self._nack,
            "leave": self._leave,
            "join": self._join_any,
            "answer late": self._answer_late,
            "read letters": self._read_letters,
            "redeliver": self._redeliver,
        }
        for _ in range(_STEPS):
            (name,) = self._chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
            await self._what_must_come()
            await steps[name]()
        if is_last:
            for group in _FILTERS:
                if all(worker.group != group for worker in crew.workers):
                    await self._join(group)
            await crew.drain()
        for group in _FILTERS:
            await bus.dead_letters(group)
        await crew.leave_all()

    async def _what_must_come(self) -> None:
        """Expect every due event of a group without unanswered deliveries to come to a waiting consumer."""
        for worker in self._crew.workers:
            group = worker.subscription.model
            await self._crew.wait_until(partial(_is_served, group), what=f"a delivery to {group.name}")
        await self._crew.settle()

    async def _publish(self) -> None:
        room = self._bus.capabilities.max_pending // 3 - max((group.size for group in self._bus.model.groups.values()), default=0)
        count = min(room, self._chance.randint(1, 5), 1 if self._bus.capabilities.max_pending < 4 else 5)
        if count > 0:
            await self._bus.publish_events([self._event() for _ in range(count)])

    def _event(self) -> RecordedEvent:
        """Return the next event of a stream. The n-th events of all streams have one id."""
        stream = self._chance.choice(_STREAMS)
        number = self._counts[stream] = self._counts[stream] + 1
        kind = self._chance.choice((EVENT_TYPE, EVENT_TYPE, _OTHER_TYPE))
        label = f"{'abcd'[_STREAMS.index(stream)]}{number}"
        return self._harness.record(label, stream, event_id=event_id(f"program {number}"), event_type=kind)

    async def _ack(self) -> None:
        if held := list(self._crew.held()):
            worker, delivery = self._chance.choice(held)
            await self._crew.ack(worker, delivery)
            worker.gone.append(delivery)

    async def _nack(self) -> None:
        if held := list(self._crew.held()):
            worker, delivery = self._chance.choice(held)
            await self._crew.nack(worker, delivery, f"reason {self._chance.randint(1, 1_000)}")
            worker.gone.append(delivery)

    async def _answer_late(self) -> None:
        """Answer a delivery once more that was answered, or left unanswered, before."""
        gone = [(worker, delivery) for worker in self._crew.workers for delivery in worker.gone]
        if gone:
            worker, delivery = self._chance.choice(gone)
            with suppress(StoreClosedError):
                if self._chance.random() < 0.5:  # half of them
                    await worker.subscription.ack(delivery)
                else:
                    await worker.subscription.nack(delivery, "late")

    async def _leave(self) -> None:
        if self._crew.workers:
            await self._crew.leave(self._chance.choice(self._crew.workers))

    async def _join_any(self) -> None:
        group = self._chance.choice(list(_FILTERS))
        if sum(worker.group == group for worker in self._crew.workers) < _MOST_CONSUMERS:
            await self._join(group)

    async def _join(self, group: str) -> None:
        types, streams = _FILTERS[group]
        await self._crew.join(group, most=self._chance.randint(1, 3), types=types, streams=streams)

    async def _read_letters(self) -> None:
        await self._bus.dead_letters(self._chance.choice(list(_FILTERS)), limit=self._chance.randint(1, 5))

    async def _redeliver(self) -> None:
        group = self._chance.choice(list(_FILTERS))
        letters = await self._bus.dead_letters(group)
        chosen = [letter.event for letter in letters if self._chance.random() < 0.7]  # most of them
        await self._bus.redeliver(group, chosen)


def _is_served(group: GroupModel) -> bool:
    return not (group.is_quiet and group.is_due)
