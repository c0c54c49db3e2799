"""The lanes serve threads as they serve tasks: no loop, no helper thread, each caller its own outcome."""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.adapters.system import SystemClock, Uuid7Generator
from inventory_es.application.commands import batching
from inventory_es.application.commands.batching import Batcher, Callers, Item
from inventory_es.application.commands.decision import CommandOutcome, Decider
from inventory_es.application.commands.group_commit import Append, Committer, Fairness
from inventory_es.application.commands.handler import CommandHandler
from inventory_es.application.commands.handler_settings import HandlerSettings
from inventory_es.application.commands.idempotency import Idempotency, UnsettledAppends
from inventory_es.application.commands.repository import Repository
from inventory_es.application.commands.states import StateCache, StreamReader
from inventory_es.application.commands.waiting import ThreadWaiting
from inventory_es.application.observers import AppendFinished, Observers
from inventory_es.application.results import Reservation
from inventory_es.domain.commands import AddStock, Command, ReserveStock
from inventory_es.domain.errors import InsufficientStockError
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, NewEvent, StreamWrite
from inventory_es.ports.toolkit.waiting import Wakeup, run_to_end
from tests.integration.interrupted import InterruptedAt

SHELF = InventoryId("espresso-1kg", "berlin")
IDS = Uuid7Generator()


class DirectStore(MemoryEventStore):
    """A memory store that answers without a step of an event loop. Its appends last a while, so that callers meet."""

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        time.sleep(0.0005)  # noqa: ASYNC251  # as a disk does
        return self._log.append(writes)

    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        time.sleep(0.0005)  # noqa: ASYNC251  # as a disk does
        return [self._attempt(writes) for writes in groups]

    async def _begin_read(self) -> None:
        self._check_open()


class Threads:
    """A command side for threads over a store without an event loop."""

    def __init__(self) -> None:
        self.commits: list[AppendFinished] = []
        store, waiting, settings, codec = DirectStore(), ThreadWaiting(), HandlerSettings(), JsonEventCodec()
        observers, reader = Observers([self]), StreamReader(store, codec)

        async def sleep(seconds: float) -> None:
            time.sleep(seconds)  # noqa: ASYNC251  # among threads, each wait blocks

        repository = Repository(
            store=store,
            reader=reader,
            cache=StateCache(settings.warm_inventories, settings.warm_bytes),
            committer=Committer(store, observers, time.monotonic, waiting),
            fairness=Fairness(store, settings.max_attempts, waiting),
            idempotency=Idempotency(reader, codec),
            unsettled=UnsettledAppends(0.0, time.monotonic),
            clock=SystemClock(),
            settings=settings,
            sleep=sleep,
            chance=lambda: 0.5,
            waiting=waiting,
        )
        decider = Decider(
            codec=codec,
            capabilities=store.capabilities,
            policies=(),
            settings=settings,
            clock=repository.clock,
            ids=IDS,
            reader=reader,
            committer=repository.committer,
        )
        self.handler = CommandHandler(repository, decider, observers, time.monotonic, waiting)

    def append_finished(self, record: AppendFinished) -> None:
        self.commits.append(record)

    def execute(self, command: Command) -> CommandOutcome:
        return run_to_end(self.handler.execute(command))

    def execute_all(self, commands: Sequence[Command]) -> list[CommandOutcome]:
        return run_to_end(self.handler.execute_all(commands))


def together(number: int, work: Callable[[int], object]) -> None:
    """Run ``work`` in so many threads that begin at once, and raise what one of them raised."""
    begin, problems = threading.Barrier(number), list[BaseException]()

    def run(at: int) -> None:
        begin.wait(30)
        try:
            work(at)
        except BaseException as problem:  # noqa: BLE001  # raised below
            problems.append(problem)

    threads = [threading.Thread(target=run, args=(at,), daemon=True) for at in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    if problems:
        raise problems[0]


def reserve(number: int) -> ReserveStock:
    return ReserveStock(inventory_id=SHELF, reservation_id=f"R{number}", quantity=1, ttl=timedelta(minutes=15))


@pytest.mark.parametrize("stock", [1_000, 100])
def test_threads_on_one_product_share_commits_and_each_has_its_own_outcome(stock: int) -> None:
    side, refused = Threads(), list[int]()
    side.execute(AddStock(inventory_id=SHELF, command_id="first", quantity=stock))
    outcomes: dict[int, CommandOutcome] = {}

    def work(at: int) -> None:
        for number in range(at * 25, at * 25 + 25):
            try:
                outcomes[number] = side.execute(reserve(number))
            except InsufficientStockError:
                refused.append(number)

    together(16, work)
    assert len(outcomes) == min(stock, 400)
    assert len(outcomes) + len(refused) == 400
    assert all(isinstance(one, Reservation) and one.reservation_id == f"R{number}" for number, one in outcomes.items())
    assert sorted(one.version for one in outcomes.values()) == list(range(2, len(outcomes) + 2)), "each event once, without a gap"
    assert len(side.commits) < len(outcomes), "callers that meet share a commit"
    assert len(side.handler._lanes) == 0


def test_one_command_sent_by_many_threads_is_accepted_once() -> None:
    side = Threads()
    side.execute(AddStock(inventory_id=SHELF, command_id="first", quantity=5))
    outcomes: list[CommandOutcome] = []
    together(16, lambda _: outcomes.append(side.execute(reserve(1))))
    assert {one.version for one in outcomes} == {2}
    assert [one.replayed for one in outcomes].count(False) == 1


def test_baskets_and_single_commands_of_threads_never_wait_in_a_ring() -> None:
    side = Threads()
    shelves = [InventoryId(f"p{number}", "s") for number in range(4)]

    def work(at: int) -> None:
        for turn in range(10):
            lines = [AddStock(inventory_id=shelf, command_id=f"{at}-{turn}", quantity=1) for shelf in shelves]
            side.execute_all(lines if at % 2 else lines[::-1])
            side.execute(AddStock(inventory_id=shelves[turn % 4], command_id=f"alone-{at}-{turn}", quantity=1))

    together(8, work)
    last = [side.execute(AddStock(inventory_id=shelf, command_id="last", quantity=1)) for shelf in shelves]
    assert sum(one.version for one in last) == 8 * 10 * 4 + 8 * 10 + 4
    assert len(side.handler._lanes) == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of a coroutine that is interrupted before it begins
@pytest.mark.parametrize("holds", [False, True], ids=["submits", "holds"])
@pytest.mark.parametrize("first", [True, False], ids=["the first leads", "the first waits"])
def test_a_signal_at_any_time_leaves_nobody_waiting(*, first: bool, holds: bool) -> None:
    place = 1
    while interrupt_at(place, is_first=first, holds=holds):
        place += 1
    assert place > 10, "the whole way was tried"


class Alone(Item):
    """The item of a caller that holds a lane."""

    alone = True


def interrupt_at(place: int, *, is_first: bool, holds: bool) -> bool:
    """Let five threads meet, and interrupt one at a place. Return False if it ended before."""
    batcher: Batcher[Item] = Batcher(Callers(ThreadWaiting()))
    go_on, began = threading.Event(), threading.Event()

    async def serve(batch: Sequence[Item]) -> None:
        began.set()
        go_on.wait(30)
        for one in batch:
            one.outcome = "served"

    async def hold() -> None:
        async with batcher.hold(Alone()):
            began.set()
            go_on.wait(30)

    trace = InterruptedAt(place, [batching.__file__])

    def interrupted() -> None:
        trace.run(lambda: run_to_end(hold() if holds else batcher.submit(Item(), serve, 3)))

    items = [Item() for _ in range(4)]
    victim = threading.Thread(target=interrupted, daemon=True)
    others = [threading.Thread(target=lambda item=item: run_to_end(batcher.submit(item, serve, 3)), daemon=True) for item in items]
    order = [victim, *others] if is_first else [others[0], victim, *others[1:]]
    for at, thread in enumerate(order):
        thread.start()
        if at == 0:
            began.wait(0.05)
    until = time.monotonic() + 30
    while len(batcher.queue) < 3 and victim.is_alive() and time.monotonic() < until:
        threading.Event().wait(0.0005)
    go_on.set()
    for thread in order:
        thread.join(30)
    assert not any(thread.is_alive() for thread in order), f"somebody waits for ever after an interruption at place {place}"
    assert all(item.outcome == "served" for item in items)
    assert batcher.leader is None
    assert not batcher.queue
    return trace.left <= 0


def test_a_leader_that_is_interrupted_hands_over_and_leaves_nobody_waiting() -> None:
    batcher: Batcher[Item] = Batcher(Callers(ThreadWaiting()))
    served: list[Item] = []
    many_wait = threading.Event()

    async def serve(batch: Sequence[Item]) -> None:
        if not served and len(batch) == 1 and not many_wait.is_set():
            many_wait.wait(30)
            raise KeyboardInterrupt
        for one in batch:
            one.outcome = "served"
            served.append(one)

    def submit(item: Item) -> None:
        run_to_end(batcher.submit(item, serve, 4))

    def lead() -> None:
        with pytest.raises(KeyboardInterrupt):
            submit(Item())

    leader = threading.Thread(target=lead, daemon=True)
    leader.start()
    followers = [threading.Thread(target=submit, args=(Item(),), daemon=True) for _ in range(9)]
    for thread in followers:
        thread.start()
    until = time.monotonic() + 30
    while len(batcher.queue) < 9 and time.monotonic() < until:
        threading.Event().wait(0.001)
    many_wait.set()
    for thread in (leader, *followers):
        thread.join(30)
    assert len(served) == 9
    assert len(batcher.queue) == 0


def test_an_interrupted_thread_waits_for_the_outcome_of_its_append() -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Gated(DirectStore):
        async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
            begun.set()
            go_on.wait(30)
            return self._log.append(writes)

    class Interrupted(Wakeup):
        def __init__(self) -> None: ...

        def done(self) -> bool:
            return False

        def __await__(self) -> Any:
            go_on.set()
            raise KeyboardInterrupt

    class Waiting(ThreadWaiting):
        wakeups = 0

        def wakeup(self) -> Wakeup:
            self.wakeups += 1
            return Interrupted() if self.wakeups == 1 else super().wakeup()

    committer = Committer(Gated(), Observers([]), time.monotonic, Waiting())
    event = NewEvent(UUID(int=1), "Noted", 1, datetime(2026, 1, 5, tzinfo=UTC), b"{}", b"{}")
    first, second = (Append((StreamWrite(StreamId("s", name), 0, (event,)),)) for name in "ab")
    leader = threading.Thread(target=lambda: run_to_end(committer.append(first)), daemon=True)
    leader.start()
    assert begun.wait(30)
    with pytest.raises(KeyboardInterrupt):
        run_to_end(committer.append(second))
    leader.join(30)
    assert isinstance(first.outcome, AppendResult)
    assert isinstance(second.outcome, AppendResult), "it is known when the interruption is raised"


def test_a_coroutine_that_waits_for_an_event_loop_is_refused() -> None:
    async def wait() -> Any:
        return await Forever()

    with pytest.raises(RuntimeError, match="waits for an event loop"):
        run_to_end(wait())


class Forever:
    def __await__(self) -> Any:
        yield
