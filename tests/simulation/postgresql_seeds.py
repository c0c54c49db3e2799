"""The simulation's programs, orders and transfers through three processes on one PostgreSQL server, seed by seed.

Deep run: ``python -m tests.simulation.postgresql_seeds 200``. A second number is the first seed: ``… 200 5000``.

The seed decides what is sent, by which process, and by which clock. Processes and server decide the order: a seed may give another run.
"""

import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, cast

import anyio
import attrs

from inventory_es.domain.commands import AddStock, AdjustStock, Command, ReserveStock
from inventory_es.domain.errors import CommandsRejectedError, InventoryError, RejectionError
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.processes.lines import OrderItem
from inventory_es.domain.processes.order.commands import AuthorisePayment, CancelOrder, OrderCommand, PlaceOrder, ResolveOrder, ShipOrder
from inventory_es.domain.processes.transfer.commands import (
    CancelTransfer,
    DispatchTransfer,
    DraftTransfer,
    ReceiveTransfer,
    ReturnTransfer,
    TransferCommand,
    WriteOffTransfer,
)
from inventory_es.domain.processes.transfer.events import Movement
from inventory_es.domain.reasons import AdjustReason, Shortfall
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import RecordedEvent
from inventory_es.processes import OrderStatus, Transfers, TransferStatus
from inventory_es.testing import ManualClock
from inventory_es.testing.domain.scenarios import START
from inventory_es.testing.simulation.clients import Answer, Observation
from inventory_es.testing.simulation.plan import Plan
from inventory_es.testing.simulation.referee import StreamReferee, check_orders
from inventory_es.wiring import open_inventory
from tests.property.serial_order import Sent
from tests.property.service_processes import Node, Processes, Task, play, processes
from tests.servers.postgresql import server
from tests.simulation.order_simulation import RESTING, judge
from tests.simulation.order_world import CODEC, OrderWorld
from tests.simulation.order_world import Plan as OrderPlan

BACKENDS = ("asyncio", "trio", "asyncio")
_SKEWS = (0.0, 0.0, 5.0, 25.0, -25.0)
_DAY = timedelta(days=1)
_ATTEMPTS = 100


@attrs.define
class Log:
    """What a store holds, read once, as a referee reads it."""

    events: Sequence[RecordedEvent]

    def read(self, stream: StreamId, after: int, limit: int) -> list[RecordedEvent]:
        return [one for one in self.events if one.stream == stream and one.version > after][:limit]


@attrs.define
class Shops:
    """The processes over the store of one seed, and what happened.

    Attributes:
        now: the true time; the clock of each process is ahead of it by its skew.
    """

    processes: Processes
    url: str
    chance: random.Random
    now: datetime = START
    counts: Counter[str] = attrs.field(factory=Counter)
    skews: list[timedelta] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.processes.open(self.url)
        self.skews = [timedelta(seconds=self.chance.choice(_SKEWS)) for _ in BACKENDS]

    def at_once(self, function: Callable[..., Awaitable[Any]], steps: Sequence[Any]) -> list[Any]:
        """Spread steps over the processes, which take them at the same time, and now and then one of them twice."""
        works: list[list[Any]] = [[] for _ in BACKENDS]
        for step in steps:
            for _ in range(2 if self.chance.random() < 0.3 else 1):
                self.chance.choice(works).append(step)
        self.counts["steps"] += sum(map(len, works))
        return self.processes.at_once(function, *[(self.now + skew, work) for skew, work in zip(self.skews, works, strict=True)])

    async def log(self) -> Log:
        """Read the whole feed."""
        async with open_inventory(self.url) as service:
            events: list[RecordedEvent] = []
            while True:
                page = await cast(Any, service.store).read_all(after=events[-1].position if events else 0, limit=1_000)
                events += page.events
                if page.is_end:
                    break
        assert [one.position for one in events] == list(range(1, len(events) + 1))
        self.counts["events"] += len(events)
        return Log(events)


def play_commands(shops: Shops, seed: int) -> None:
    """Play the simulation's plan of a seed, and let the simulation's referee judge it."""
    plan = Plan.by_seed(seed)
    sent: list[Sent] = []
    seen: list[Observation] = []

    def take(told: list[tuple[list[Sent], list[Observation]]]) -> None:
        for also_sent, also_seen in told:
            sent.extend(also_sent)
            seen.extend(also_seen)

    inventories = [one.inventory_id for one in plan.programs]
    for program in plan.programs:
        take([shops.processes.one(0, play, shops.now, [[(call.command,)] for call in program.setup])])
    for number in range(max(len(one.steps) for one in plan.programs)):
        calls = [one.steps[number] for one in plan.programs if len(one.steps) > number]
        shops.now = max(shops.now, *[call.at for call in calls])
        shops.skews = [timedelta(0)] * len(BACKENDS)  # the times of a program are of one clock, which may run backwards
        take(shops.at_once(play, [[(call.command,)] for call in calls]))
    shops.skews = [timedelta(seconds=shops.chance.choice(_SKEWS)) for _ in BACKENDS]
    at_once: list[Task] = [[(call.command,)] for program in plan.programs for call in program.parallel]
    take(shops.at_once(play, [*at_once, *[[order] for order in plan.orders], *[[one] for one in inventories]]))
    answers = [answer for one in sent for answer in _answers(one)]
    shops.counts["refused"] += sum(isinstance(one.outcome, Exception) for one in answers)
    log = anyio.run(shops.log)
    referees = {one: StreamReferee(one, cast(Any, log), CODEC) for one in inventories}
    check_orders(plan.orders, referees)
    for inventory_id, referee in referees.items():
        mine = [one for one in answers if one.command.inventory_id == inventory_id]
        referee.check([one.command for one in mine], mine, [one for one in seen if one.inventory_id == inventory_id])
    _send_again(shops, {(one.command.inventory_id, one.command.command_id): one for one in answers if one.is_accepted}, log)


def _answers(sent: Sent) -> list[Answer]:
    outcomes: Sequence[Any] = [sent.outcome]
    if isinstance(sent.outcome, CommandsRejectedError):
        why = dict(zip(sent.outcome.indexes, sent.outcome.rejections, strict=True))
        outcomes = [why.get(number) for number in range(len(sent.commands))]
    elif sent.is_basket:
        outcomes = sent.outcome
    found = []
    for command, outcome in zip(sent.commands, outcomes, strict=True):
        if outcome is not None:
            since, until = sent.before[command.inventory_id], sent.after[command.inventory_id]
            found.append(Answer(command=command, outcome=outcome, since=since, until=until, clocks=sent.times))
    return found


def _send_again(shops: Shops, accepted: Mapping[Any, Answer], log: Log) -> None:
    """Send every accepted command once more, a day later, to any process."""
    shops.now += _DAY
    for sent, _ in shops.at_once(play, [[(one.command,)] for one in accepted.values()]):
        for one in sent:
            first = accepted[one.commands[0].inventory_id, one.commands[0].command_id]
            assert (one.outcome.replayed, one.outcome.version) == (True, cast(Any, first.outcome).version)
    assert len(anyio.run(shops.log).events) == len(log.events)


Step = OrderCommand | TransferCommand | Command | str
"""What a process does for orders or transfers: a command, or a look at the process of this id, as a runner takes."""


async def take_steps(node: Node, at: datetime, steps: Sequence[Step]) -> tuple[list[Step], list[Command]]:
    """Take steps at the same time. Return the commands of orders and transfers that were accepted, and the commands that were sent."""
    node.clock.at = at
    accepted: list[Step] = []

    async def take(step: Step) -> None:
        if isinstance(step, Command):
            with suppress(InventoryError):
                await node.service.execute(step)
            return
        for _ in range(_ATTEMPTS):
            try:
                await _take(node, step)
            except RejectionError:
                return
            except InventoryError:
                await anyio.sleep(0.005)
            else:
                accepted.append(step)
                return
        msg = f"{step} has no answer"
        raise AssertionError(msg)

    async with anyio.create_task_group() as group:
        for step in steps:
            group.start_soon(take, step)
    sent, node.service.sent = node.service.sent, []
    return accepted, sent


async def _take(node: Node, step: Step) -> None:
    if isinstance(step, str):
        await node.orders.look(step)
        await node.transfers.look(step)
    elif isinstance(step, OrderCommand):
        await node.orders.execute(step)
    elif isinstance(step, TransferCommand):
        await node.transfers.execute(step)


@attrs.define
class Everything:
    """What the judge of the simulated orders looks at."""

    plan: OrderPlan
    log: Log
    sent: list[Command]
    clock: ManualClock
    counts: Counter[str]
    nodes: list[Node]


def play_orders(shops: Shops, seed: int) -> None:
    """Play the orders of a seed: several processes send, and help what another sends, while clerks count stock away."""
    plan, chance = OrderPlan.by_seed(seed), shops.chance
    ids = [one.order_id for one in plan.orders]
    accepted: list[Step] = []
    sent: list[Command] = []

    def take(steps: Sequence[Step]) -> None:
        for also_accepted, also_sent in shops.at_once(take_steps, steps):
            accepted.extend(one for one in also_accepted if not isinstance(one, str))
            sent.extend(also_sent)

    def check(resting: set[OrderStatus]) -> None:
        take(ids)
        placed = {one.order_id for one in accepted if isinstance(one, PlaceOrder)}
        anyio.run(_judge, shops, plan, sent, placed, resting)

    take([AddStock(inventory_id=one, command_id="opening", quantity=plan.opening) for one in plan.shelves])
    take([*plan.orders, *_meddling(chance, plan, 0)])
    for number in range(1, chance.randint(2, 5)):
        shops.now += timedelta(seconds=chance.choice((0.0, 1.0, 6.0)))
        steps: list[Step] = [_next_of(chance, one, number) for one in plan.orders if chance.random() < 0.8]
        take([*steps, *chance.sample(ids, 2), *_meddling(chance, plan, number)])
    shops.now += timedelta(seconds=60)
    shops.skews = [timedelta(0)] * len(BACKENDS)
    check(RESTING | {OrderStatus.HELD})
    before = len(anyio.run(shops.log).events)
    take(accepted.copy())
    take(ids)
    assert len(anyio.run(shops.log).events) == before, "commands that were accepted before were accepted again"
    shops.now += timedelta(hours=2)
    check(RESTING)
    take([ResolveOrder(order_id=one) for one in ids])
    check(RESTING - {OrderStatus.NEEDS_REFUND, OrderStatus.NEEDS_ATTENTION})


def _next_of(chance: random.Random, place: PlaceOrder, number: int) -> OrderCommand:
    order_id, line = place.order_id, chance.choice(place.lines)
    part = (OrderItem(line.product_id, line.store_id, chance.randint(1, line.quantity)),)
    choices: list[OrderCommand] = [
        AuthorisePayment(order_id=order_id, payment_id=f"pay {order_id}"),
        ShipOrder(order_id=order_id, shipment_id=f"x{number}", lines=part),
        ShipOrder(order_id=order_id, shipment_id="rest"),
        CancelOrder(order_id=order_id),
    ]
    return chance.choices(choices, weights=(4, 3, 2, 1))[0]


def _meddling(chance: random.Random, plan: OrderPlan, number: int) -> list[Step]:
    shelf = chance.choice(plan.shelves)
    meddling: list[Step] = [
        AddStock(inventory_id=shelf, command_id=f"more {number}", quantity=chance.randint(1, 4)),
        ReserveStock(inventory_id=shelf, reservation_id=f"R{number}", quantity=1, ttl=timedelta(seconds=8)),
        AdjustStock(inventory_id=shelf, command_id=f"lost {number}", delta=-1, reason=AdjustReason.LOSS, shortfall=Shortfall.BUMP),
    ]
    return meddling[: chance.randint(0, 3)]


async def _judge(shops: Shops, plan: OrderPlan, sent: list[Command], placed: set[str], resting: set[OrderStatus]) -> None:
    log = await shops.log()
    async with Node.on(shops.url) as node:
        node.clock.at = shops.now
        everything = Everything(plan, log, sent, node.clock, shops.counts, [node])
        await judge(cast(OrderWorld, everything), resting)
        for order_id in placed:
            assert (await node.orders.order(order_id)).status is not OrderStatus.NEW, f"{order_id} was placed, and is lost"


GOODS = {InventoryId(product, store): units for product, units in (("A", 9), ("B", 4)) for store in ("s0", "s1", "s2")}
"""The opening of the transfers' shelves."""


def play_transfers(shops: Shops, seed: int) -> None:
    """Play transfers between three stores: no unit is lost or made, and each transfer comes to rest."""
    chance = random.Random(f"transfers:{seed}")
    drafts = [_draft(chance, number) for number in range(chance.randint(2, 5))]
    ids = [one.transfer_id for one in drafts]
    accepted: list[Step] = []

    def take(steps: Sequence[Step]) -> None:
        for also_accepted, _ in shops.at_once(take_steps, steps):
            accepted.extend(one for one in also_accepted if not isinstance(one, str))

    take([AddStock(inventory_id=one, command_id="opening", quantity=units) for one, units in GOODS.items()])
    take(drafts)
    for number in range(chance.randint(2, 6)):
        shops.now += timedelta(seconds=1)
        take([*[_movement(chance, one, number) for one in drafts for _ in range(2)], *ids])
    take(ids)
    anyio.run(_judge_transfers, shops, ids)
    before = len(anyio.run(shops.log).events)
    take(accepted.copy())
    take(ids)
    assert len(anyio.run(shops.log).events) == before, "commands that were accepted before were accepted again"


def _draft(chance: random.Random, number: int) -> DraftTransfer:
    source, destination = chance.sample(("s0", "s1", "s2"), 2)
    goods = [(product, chance.randint(1, 5)) for product in chance.sample("AB", chance.randint(1, 2))]
    return DraftTransfer(transfer_id=f"T{number}", source_store_id=source, destination_store_id=destination, lines=cast(Any, goods))


def _movement(chance: random.Random, draft: DraftTransfer, number: int) -> TransferCommand:
    transfer_id, goods = draft.transfer_id, None if chance.random() < 0.4 else [(draft.lines[0].product_id, 1)]
    choices: list[TransferCommand] = [
        DispatchTransfer(transfer_id=transfer_id),
        ReceiveTransfer(transfer_id=transfer_id, receipt_id=f"r{number}", lines=cast(Any, goods)),
        ReturnTransfer(transfer_id=transfer_id, return_id=f"b{number}", lines=cast(Any, goods)),
        WriteOffTransfer(transfer_id=transfer_id, loss_id=f"l{number}", lines=cast(Any, goods)),
        CancelTransfer(transfer_id=transfer_id),
    ]
    return chance.choices(choices, weights=(4, 3, 1, 1, 1))[0]


async def _judge_transfers(shops: Shops, ids: Sequence[str]) -> None:
    async with open_inventory(shops.url) as service:
        transfers = [await Transfers(service).transfer(one) for one in ids]
        levels = {one: await service.stock(one.product_id, one.store_id) for one in GOODS}
    for one in transfers:
        shops.counts[f"transfer {one.status}"] += 1
        assert one.step is None, f"{one.transfer_id} is {one.status} and has still to {one.step}"
    there = sum(level.on_hand for level in levels.values())
    assert there + sum(one.units_in_transit + one.units(Movement.LOSS) for one in transfers) == sum(GOODS.values())
    for shelf, level in levels.items():
        waiting = [one for one in transfers if one.status is TransferStatus.RESERVED and one.source_store_id == shelf.store_id]
        held = sum(line.quantity for one in waiting for line in one.lines if line.product_id == shelf.product_id)
        assert level.reserved == held, f"{shelf} has {level.reserved} units reserved, its transfers {held}"


GAMES: Mapping[str, Callable[[Shops, int], None]] = {"commands": play_commands, "orders": play_orders, "transfers": play_transfers}


def play_seed(running: Processes, url: str, game: str, seed: int) -> Counter[str]:
    """Play one seed in a schema of its own, and return what happened.

    Raises:
        AssertionError, BreachError: a check fails. The note says how to repeat the run.
    """
    shops = Shops(running, f"{url}?schema={game}_{seed}", random.Random(f"{game}:{seed}"))
    try:
        GAMES[game](shops, seed)
    except Exception as problem:
        problem.add_note(f"{game}; repeat with: python -m tests.simulation.postgresql_seeds 1 {seed}")
        raise
    return shops.counts


def main(seeds: int, first: int) -> int:
    """Play many seeds, and return the exit code."""
    started = time.monotonic()
    broken = 0
    with server({"fsync": "on"}) as one, processes(*BACKENDS) as running:
        for game in GAMES:
            total: Counter[str] = Counter()
            for seed in range(first, first + seeds):
                try:
                    total.update(play_seed(running, one.url, game, seed))
                except Exception as problem:  # noqa: BLE001  # every seed is told
                    broken += 1
                    print(f"{game}, seed {seed}: {problem!r}")
            print(f"{game}, {seeds:,} seeds: {', '.join(f'{number:,} {name}' for name, number in sorted(total.items()))}", flush=True)
    print(f"{broken:,} violations in {time.monotonic() - started:,.0f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
