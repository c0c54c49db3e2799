"""A signal at any place of a synchronous call leaves the service usable, in every thread, while its traceback lives on."""

import contextlib
import threading
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext
from datetime import UTC, datetime, timedelta
from itertools import combinations, count
from pathlib import Path
from time import monotonic
from typing import Any, cast
from uuid import UUID

import pytest

from inventory_es.adapters.file import open_file
from inventory_es.adapters.file.bus.event_bus import open_bus
from inventory_es.adapters.file.bus.file_bus import BusConsumer, FileBus, FileBusGroup, GroupLimits
from inventory_es.adapters.file.bus.stored_form import BusDeadLetters
from inventory_es.adapters.file.operating_system import OperatingSystem
from inventory_es.adapters.postgresql import connections as connections_of_postgresql
from inventory_es.adapters.postgresql.connections import Connections
from inventory_es.adapters.sqlite import open_sqlite
from inventory_es.adapters.sqlite.connections import gate
from inventory_es.adapters.system import SystemClock
from inventory_es.domain.commands import AddStock
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import DeadLetter, NewEvent, RecordedEvent, StreamWrite
from inventory_es.ports.toolkit import waiting
from inventory_es.ports.toolkit.delivery_rules import GroupFilter, QueuedEvent
from inventory_es.ports.toolkit.waiting import run_to_end
from inventory_es.processes import OrderStatus
from inventory_es.sync import Orders, open_inventory
from tests.integration.interrupted import EVERYWHERE, InterruptedAt

pytestmark = pytest.mark.filterwarnings(  # of what is interrupted before it begins, and of a dropped service
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning", "ignore:coroutine .* was never awaited:RuntimeWarning"
)
SECONDS = 30.0


@pytest.fixture
def another_thread() -> Iterator[Executor]:
    """A thread that a lock of this one would keep waiting."""
    with ThreadPoolExecutor(1) as threads:
        yield threads


def url_of(scheme: str, folder: Path) -> str:
    return "memory:" if scheme == "memory" else f"{scheme}:{folder / 'stock'}"


def interruptions(
    work: Callable[[int], object],
    before: Callable[[int], object] = lambda _: None,
    *,
    least: int = 100,
    every: int = 1,
    within: Collection[str] = EVERYWHERE,
) -> Iterator[str]:
    """Interrupt the work once at each place on its way, or at every so many, and yield the place.

    Args:
        work: gets the number of the place, as ``before`` does.
        before: is not interrupted.
        least: the least number of places.
        every: the distance of places.
        within: the beginnings of the names of the files whose places count.
    """
    for place in count(1, every):
        before(place)
        trace = InterruptedAt(place, within)
        problem = trace.run(lambda at=place: work(at))  # type: ignore[misc]
        if trace.left > 0:
            assert problem is None
            assert place > least, "the whole way was tried"
            return
        is_replaced = threading.__file__ in trace.where  # a condition's wait, while a thread starts, replaces it by RuntimeError
        assert isinstance(problem, KeyboardInterrupt) or is_replaced, (trace.where, problem)
        yield f"{place}: {trace.where}"


@pytest.mark.parametrize("scheme", ["memory", "file", "sqlite"])
def test_a_command_can_be_repeated(scheme: str, tmp_path: Path, another_thread: Executor) -> None:
    with open_inventory(url_of(scheme, tmp_path)) as inventory:
        inventory.add_stock("tea", "berlin", 1)

        def add(number: int) -> object:
            return inventory.add_stock("tea", "berlin", 1, command_id=f"c{number}")

        for done, where in enumerate(interruptions(add), 1):
            another_thread.submit(add, done).result(SECONDS)
            another_thread.submit(inventory.reserve, "tea", "berlin", 1, ttl=None, reservation_id=f"r{done}").result(SECONDS)
            level = inventory.stock("tea", "berlin")
            assert (level.on_hand, level.reserved, level.version) == (1 + done, done, 1 + 2 * done), where
            assert not gate.uses, where


@pytest.mark.parametrize("scheme", ["file", "sqlite"])
def test_a_read_can_be_repeated(scheme: str, tmp_path: Path, another_thread: Executor) -> None:
    """Another process writes, so each read has something to catch up with."""
    url = url_of(scheme, tmp_path)
    with open_inventory(url) as inventory, open_inventory(url) as other:

        def write(number: int) -> None:
            other.add_stock("tea", "berlin", 1, command_id=f"c{number}")

        def read(_: int) -> object:
            return inventory.stock("tea", "berlin")

        for done, where in enumerate(interruptions(read, before=write), 1):
            assert another_thread.submit(inventory.stock, "tea", "berlin").result(SECONDS).on_hand == done, where
            assert len(list(inventory.feed(after=done - 1))) == 1, where
            assert not gate.uses, where


@pytest.mark.parametrize("opens", [open_file, open_sqlite])
def test_a_turn_can_be_repeated(opens: Callable[[str], Coroutine[Any, Any, Any]], tmp_path: Path, another_thread: Executor) -> None:
    store, other = (run_to_end(opens(str(tmp_path / "stock"))) for _ in range(2))
    versions = [0]

    async def append(to: Any) -> None:
        at = datetime(2026, 1, 5, tzinfo=UTC)
        event = NewEvent(UUID(int=versions[0] + 1), "Noted", 1, at, b"{}", b"{}")
        await to.append([StreamWrite(StreamId("s", "1"), versions[0], [event])])
        versions[0] += 1

    async def go_first() -> None:
        async with store.turn():
            pass

    async def append_first() -> None:
        async with store.turn():
            await append(store)

    for done, where in enumerate(interruptions(lambda _: run_to_end(go_first()), least=50), 1):
        another_thread.submit(lambda: run_to_end(append_first())).result(SECONDS)
        another_thread.submit(lambda: run_to_end(append(other))).result(SECONDS)
        assert versions == [2 * done], where
    run_to_end(store.aclose())
    run_to_end(other.aclose())


def test_a_cached_query_can_be_repeated(another_thread: Executor) -> None:
    with open_inventory("memory:", read_models="memory:", cache="memory:") as inventory:
        inventory.add_stock("tea", "berlin", 1)
        inventory.followers.catch_up(on_failure="stop")
        products = [f"tea{number}" for number in range(2_000)]  # a miss each, and so computed

        def look(number: int) -> object:
            return inventory.queries.stock(products[number], "berlin")

        for done, where in enumerate(interruptions(look), 1):
            assert another_thread.submit(look, done).result(SECONDS) is None, where


@pytest.mark.parametrize("scheme", ["file", "sqlite"])
def test_a_basket_can_be_repeated(scheme: str, tmp_path: Path, another_thread: Executor) -> None:
    products = InventoryId("tea", "berlin"), InventoryId("cups", "berlin")
    with open_inventory(url_of(scheme, tmp_path)) as inventory:

        def add(number: int) -> object:
            return inventory.execute_all([AddStock(inventory_id=one, command_id=f"c{number}", quantity=1) for one in products])

        for done, where in enumerate(interruptions(lambda place: add(place // 11 + 1), every=11), 1):
            another_thread.submit(add, done).result(SECONDS)
            assert [inventory.stock(one.product_id, one.store_id).on_hand for one in products] == [done, done], where


@pytest.mark.parametrize("scheme", ["memory", "sqlite"])
def test_followers_catch_up_after_an_interruption(scheme: str, tmp_path: Path, another_thread: Executor) -> None:
    """The threads of a group of followers may be interrupted before they start."""
    with open_inventory(
        url_of(scheme, tmp_path), read_models="memory:" if scheme == "memory" else f"sqlite:{tmp_path / 'rows'}"
    ) as inventory:

        def write(_: int) -> None:
            inventory.add_stock("tea", "berlin", 1)

        def catch_up(_: int) -> None:
            inventory.followers.catch_up(on_failure="stop")

        for done, where in enumerate(interruptions(catch_up, before=write, within=(waiting.__file__, threading.__file__)), 1):
            another_thread.submit(catch_up, done).result(SECONDS)
            level = another_thread.submit(inventory.queries.stock, "tea", "berlin").result(SECONDS)
            assert level is not None, where
            assert level.on_hand == done, where


@pytest.mark.parametrize("scheme, every", [("memory", 691), ("file", 1_693), ("sqlite", 1_693)])
def test_an_opening_can_be_repeated(scheme: str, every: int, tmp_path: Path, another_thread: Executor) -> None:
    """A service opens its store with the first call."""
    url = url_of(scheme, tmp_path)

    def add(name: str) -> None:
        with open_inventory(url) as inventory:
            inventory.add_stock("tea", "berlin", 1, command_id=name)

    for done, where in enumerate(interruptions(lambda place: add(f"c{place}"), every=every), 1):
        another_thread.submit(add, f"d{done}").result(SECONDS)
        assert not gate.uses, where


@pytest.mark.parametrize("scheme, every", [("memory", 101), ("file", 307), ("sqlite", 307)])
def test_an_order_can_be_placed_again(scheme: str, every: int, tmp_path: Path, another_thread: Executor) -> None:
    with open_inventory(url_of(scheme, tmp_path)) as inventory:
        inventory.add_stock("tea", "berlin", 1_000)
        orders = Orders(inventory)

        def reserve(number: int) -> Any:
            return orders.reserve(f"o{number}", [("tea", "berlin", 1)], ttl=timedelta(minutes=15))

        for done, where in enumerate(interruptions(lambda place: reserve(place // every + 1), every=every), 1):
            assert another_thread.submit(reserve, done).result(SECONDS).status is OrderStatus.HELD, where
            assert inventory.stock("tea", "berlin").reserved == done, where


def test_a_file_bus_can_be_published_to_again(tmp_path: Path, another_thread: Executor) -> None:
    bus = run_to_end(open_bus(str(tmp_path / "bus"), SystemClock()))
    at = datetime(2026, 1, 5, tzinfo=UTC)

    def publish(number: int) -> None:
        event = RecordedEvent(StreamId("s", "1"), number, number, UUID(int=number), "Noted", 1, at, b"{}", b"{}")
        run_to_end(bus.publish([event]))

    for number, where in enumerate(interruptions(publish, every=7), 1):
        assert another_thread.submit(publish, number).result(SECONDS) is None, where
    run_to_end(bus.aclose())


def test_a_dead_letter_of_a_file_bus_outlives_an_interruption(tmp_path: Path, another_thread: Executor) -> None:
    """Each step finds the letter where the step before left it, in memory and in the journal, whatever an interruption stopped."""
    (tmp_path / "dead").mkdir()

    def opened() -> BusDeadLetters:
        return BusDeadLetters(OperatingSystem(), str(tmp_path / "dead"), seed=1, name="letters", lock_timeout=5)

    letters, at = opened(), datetime(2026, 1, 5, tzinfo=UTC)
    event = RecordedEvent(StreamId("s", "1"), 1, 1, UUID(int=1), "Noted", 1, at, b"{}", b"{}")
    letter = DeadLetter(event, "refused", 5, at)

    def bury(_: int = 0) -> None:
        letters.bury(1, letter)

    def redeliver(_: int = 0) -> None:
        letters.redeliver([event.event_id])

    def done(_: int = 0) -> None:
        letters.done(1)

    for step, earlier, state in [(bury, [done], (1, 0)), (redeliver, [bury], (0, 1)), (done, [bury, redeliver], (0, 0))]:

        def before(_: int, earlier: Iterable[Callable[[], None]] = earlier) -> None:
            for one in earlier:
                one()

        for where in interruptions(step, before, least=50):
            with closing(another_thread.submit(opened).result(SECONDS)) as again:
                letters.follow()
                assert (again.letters, again.revived) == (letters.letters, letters.revived), where
            another_thread.submit(step).result(SECONDS)
            assert (len(letters.letters), len(letters.revived)) == state, where
    letters.close()


@pytest.mark.parametrize("step", ["take", "settle", "fail", "leave"])
def test_a_group_of_a_file_bus_goes_on_after_an_interruption(step: str, tmp_path: Path) -> None:
    """Each event is handled once, in order within its stream. Another consumer has an event and a former dead letter meanwhile."""
    at = datetime(2026, 1, 5, tzinfo=UTC)
    numbers = range(1, 17)
    streams = {number: StreamId("s", str(number % 5)) for number in numbers}
    events = [RecordedEvent(stream, n, n, UUID(int=n), "Noted", 1, at, b"{}", b"{}") for n, stream in streams.items()]
    limits = GroupLimits(max_deliveries=2, max_dead_letters=10, window=6)
    dies, fails = 2, 4
    bus, group, mine, others, own = cast(FileBus, None), cast(FileBusGroup, None), BusConsumer(), BusConsumer(), -1
    handled, kept = list[int](), dict[int, int]()

    def take(consumer: BusConsumer) -> tuple[int, QueuedEvent]:
        group.take(consumer, at)
        return consumer.ready.popleft()

    def settle(delivery: int, event: int) -> None:
        group.settle(others, delivery)
        handled.append(event)

    def fail(delivery: int) -> None:
        group.fail(others, delivery, "refused", at)

    def redeliver() -> None:
        bus.redeliver("g", [each.event.event_id for each in group.letters.letters.values()])

    def before(place: int) -> None:
        nonlocal bus, group, mine, others, own
        folder = tmp_path / str(place)
        bus = FileBus(str(folder), file_system=OperatingSystem(), creation_id="0" * 32, limits=limits, segment_bytes=1 << 20)
        for event in events[:12]:
            bus.publish([event])
        group, mine = bus.join("g", GroupFilter(None, None))
        _, others = bus.join("g", GroupFilter(None, None))
        handled.clear()
        kept.clear()
        while len(kept) < 2:
            delivery, queued = take(others)
            if queued.number == dies and not group.letters.revived:
                fail(delivery)
                redeliver()
            elif queued.number == fails and queued.deliveries == 1:
                fail(delivery)
            elif queued.number in (dies, fails):
                kept[queued.number] = delivery
            else:
                settle(delivery, queued.number)
        for event in events[12:]:
            bus.publish([event])
        if step != "take":
            own, queued = take(mine)
            handled.extend([queued.number] if step == "settle" else [])

    def drain() -> None:
        group.take(others, at)
        while others.ready:
            delivery, queued = others.ready.popleft()
            settle(delivery, queued.number)
            group.take(others, at)

    steps: dict[str, Callable[[], object]] = {
        "take": lambda: group.take(mine, at),
        "settle": lambda: group.settle(mine, own),
        "fail": lambda: group.fail(mine, own, "refused", at),
        "leave": lambda: bus.leave("g", mine, at),
    }
    for where in interruptions(lambda _: steps[step](), before, least=90):
        mine.is_cancelled = step == "take"
        if step != "take":
            steps[step]()
        drain()
        settle(kept[dies], dies)
        fail(kept[fails])
        redeliver()
        drain()
        assert sorted(handled) == list(numbers), where
        in_order = [number for number in handled if number not in (dies, fails)]
        assert all(streams[one] != streams[other] or one < other for one, other in combinations(in_order, 2)), where
        assert bus.lag("g") == 0, where
        assert not group.letters.revived, where
        bus.close()


class _Host:
    """A gate whose host lends at once."""

    borrows = True

    def borrow(self, _: float) -> AbstractContextManager[None]:
        return nullcontext()

    def all_busy(self) -> Exception:
        return TimeoutError("every connection is in use")


def test_no_connection_to_postgresql_is_lost() -> None:
    """One that an interruption kept lent would leave every later caller without."""
    connections = Connections(cast(Any, _Host()), 1)

    async def borrow() -> None:
        with connections.lend(monotonic()):
            pass

    within = connections_of_postgresql.__file__, contextlib.__file__, threading.__file__
    for where in interruptions(lambda _: run_to_end(borrow()), least=20, within=within):
        assert run_to_end(borrow()) is None, where  # without a wait
