"""A signal at any place of a synchronous call leaves the service usable, in every thread, while its traceback lives on."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from inventory_es.adapters.sqlite.connections import gate
from inventory_es.sync import open_inventory
from tests.integration.interrupted import InterruptedAt

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


def interruptions(work: Callable[[int], object], before: Callable[[int], object] = lambda _: None) -> Iterator[str]:
    """Interrupt the work once at each place on its way, and yield the place."""
    for place in count(1):
        before(place)
        trace = InterruptedAt(place)
        problem = trace.run(lambda at=place: work(at))  # type: ignore[misc]
        if trace.left > 0:
            assert problem is None
            assert place > 100, "the whole way was tried"
            return
        assert isinstance(problem, KeyboardInterrupt), (trace.where, problem)
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
