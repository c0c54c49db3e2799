"""The base of the contracts: cases, their runs, and the report of a broken promise."""

import gc
import inspect
import subprocess
import sys
import unittest
import weakref
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import ClassVar

import anyio
import pytest

from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.ports import EventStore, StreamWrite
from inventory_es.testing import (
    BrokenPromiseError,
    CacheContract,
    EventBusContract,
    EventStoreContract,
    ReadModelContract,
    Site,
    SnapshotStoreContract,
)
from inventory_es.testing.contracts.core.contract import Contract
from inventory_es.testing.contracts.core.runner import cases_of
from inventory_es.testing.contracts.core.schedule import PLAIN, Schedule
from inventory_es.testing.promise import KnownFailureError, NotDeclaredError, promise_of
from tests.contract.mutants.mutant import StoreMutants
from tests.contract.mutants.writing_mutants import HalfABatch
from tests.contract.stores.plain_store import PlainStore, PlainStreams

CONTRACTS = (EventStoreContract, CacheContract, EventBusContract, SnapshotStoreContract, ReadModelContract)
CASES = [(contract, name) for contract in CONTRACTS for _, name in cases_of(contract)]

REPORT = """\
ES-10  A batch is all or nothing: a rejected append leaves the stream unchanged.
  store     HalfABatch (declared: durability=process, feed=total, multi_process, multi_stream, group_commit, \
unique_event_ids, settles_within=0.0, max_append_bytes=4194304)
            backend asyncio, plain schedule
  expected  version 3, events [a b c]      got  version 4, events [a b c d1]
  history   #1 append x@0 [a b c] -> 3 · #2 append x@2 [d1 d2] -> ConcurrencyError(actual=4) · #3 read x -> version 4, [a b c d1]
  meaning   an event of the refused batch is visible
  repeat    python -m inventory_es.testing check tests/unit/testing/test_contract_core.py:HalfABatchContract \
--only ES-10 --backend asyncio --seed 0"""


class HalfABatchContract(StoreMutants):
    adapter: type[PlainStreams] = HalfABatch


class MemoryContract(EventStoreContract):
    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        async with MemoryEventStore() as store:
            yield store


def ids(prefix: str, *ranges: tuple[int, int]) -> set[str]:
    return {f"{prefix}-{number:02}" for first, last in ranges for number in range(first, last + 1)}


def test_the_contracts_check_every_promise_of_their_ports() -> None:
    covered = {promise.id for contract in CONTRACTS for promise, _ in cases_of(contract)}
    rows = {f"{prefix}-{number}" for prefix, last in (("CK", 9), ("RM", 20), ("SN", 17)) for number in range(1, last + 1)}
    assert covered == ids("ES", (1, 97)) | ids("CA", (1, 35)) | ids("EB", (1, 40)) | rows


@pytest.mark.parametrize("contract, name", CASES, ids=lambda value: value if isinstance(value, str) else value.__name__)
def test_a_case_is_a_synchronous_method_named_after_its_promise(contract: type[Contract], name: str) -> None:
    case = getattr(contract, name)
    promise = promise_of(case)
    assert promise is not None
    assert not inspect.iscoroutinefunction(case)
    assert name.startswith(f"test_{promise.id.lower().replace('-', '_')}_")
    assert list(inspect.signature(case).parameters) == ["self"]
    assert promise.sentence.endswith(".")
    assert case.__doc__ == f"{promise.id}  {promise.sentence}"


@pytest.mark.parametrize("contract", [EventStoreContract, CacheContract, EventBusContract])
def test_importing_a_contract_collects_nothing(contract: type[Contract]) -> None:
    assert not contract.__name__.startswith("Test")
    assert not issubclass(contract, unittest.TestCase)
    assert inspect.isabstract(contract)


def test_importing_the_kit_imports_no_test_runner_and_no_hypothesis() -> None:
    program = (
        "import sys, inventory_es.testing.__main__\n"
        "from inventory_es.testing import EventStoreContract, CacheContract, EventBusContract, faulty_event_store\n"
        "print(sorted({'pytest', 'hypothesis', '_pytest'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_broken_promise_is_told_in_full() -> None:
    with pytest.raises(BrokenPromiseError) as broken:
        HalfABatchContract().test_es_10_a_refused_batch_leaves_the_stream_unchanged()
    assert str(broken.value) == REPORT


def test_a_known_failure_is_shown_with_its_reason_and_never_as_passed() -> None:
    contract = HalfABatchContract()
    contract.known_failures = {"ES-10": "half a batch, see issue 12"}
    with pytest.raises(KnownFailureError, match="ES-10 known failure: half a batch, see issue 12"):
        contract.test_es_10_a_refused_batch_leaves_the_stream_unchanged()


def test_a_known_failure_that_passes_fails() -> None:
    contract = MemoryContract()
    contract.known_failures = {"ES-10": "an old reason"}
    with pytest.raises(BrokenPromiseError, match="ES-10  passes, although known_failures says: an old reason"):
        contract.test_es_10_a_refused_batch_leaves_the_stream_unchanged()


def test_what_is_not_declared_is_shown_as_such_and_never_as_passed() -> None:
    with pytest.raises(NotDeclaredError, match="ES-43 not declared: durability above none"):
        MemoryContract().test_es_43_two_processes()
    assert issubclass(NotDeclaredError, unittest.SkipTest)


class Hooked(MemoryContract):
    calls: ClassVar[list[str]] = []
    paths: ClassVar[set[str]] = set()

    @classmethod
    @contextmanager
    def lifespan(cls) -> Iterator[None]:
        cls.calls.append("begin")
        yield
        cls.calls.append("end")

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        assert site.path.is_dir()
        assert not list(site.path.iterdir())
        (site.path / "data").write_text("left behind")
        self.paths.add(str(site.path))
        async with MemoryEventStore() as store:
            yield store
        self.calls.append("closed")

    async def settle(self) -> None:
        self.calls.append("settle")

    async def drop(self, site: Site) -> None:
        self.calls.append("drop")


def test_the_hooks_are_called_around_each_run_and_around_all() -> None:
    Hooked.setup_class()
    Hooked().test_es_02_expecting_nothing_where_something_is()
    Hooked.teardown_class()
    runs = 2 * 3
    assert Hooked.calls == ["begin", *["settle", "closed", "drop"] * runs, "end"]
    assert len(Hooked.paths) == runs


def test_one_event_loop_may_be_enough() -> None:
    class OnlyTrio(Hooked):
        backends: Sequence[str] = ("trio",)
        calls: ClassVar[list[str]] = []

    OnlyTrio().test_es_02_expecting_nothing_where_something_is()
    assert OnlyTrio.calls.count("drop") == 3


def test_seeds_may_be_chosen() -> None:
    contract = Hooked()
    contract.seeds = (7,)
    Hooked.calls.clear()
    contract.test_es_02_expecting_nothing_where_something_is()
    assert Hooked.calls.count("drop") == 2
    assert contract.last_run is not None
    assert contract.last_run.seed == 7


def test_a_case_that_has_ended_keeps_nothing_of_the_adapter() -> None:
    """Test runners keep each case until all have ended: with the adapter, its threads and connections would stay as well."""
    opened = []

    class Remembered(MemoryContract):
        @asynccontextmanager
        async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
            async with MemoryEventStore() as store:
                opened.append(weakref.ref(store))
                yield store

    contract = Remembered()
    contract.test_es_02_expecting_nothing_where_something_is()
    gc.collect()
    assert contract.last_run is not None
    assert contract.last_run.opened is MemoryEventStore
    assert contract.last_run.history.entries == []
    assert [store() for store in opened] == [None] * len(opened) != []


class Hangs(PlainStore):
    async def append(self, writes: Sequence[StreamWrite], /) -> None:  # type: ignore[override]  # it never answers
        await anyio.sleep_forever()


def test_a_case_that_hangs_is_ended_and_told() -> None:
    contract = StoreMutants()
    contract.adapter = Hangs
    contract.patience = 0.05
    with pytest.raises(BrokenPromiseError, match=r"#1 append x@0 \[a\] -> cancelled") as broken:
        contract.test_es_02_expecting_nothing_where_something_is()
    assert "none within 0.05 s" in broken.value.report


class Fails(PlainStore):
    def check_version(self, write: StreamWrite) -> None:
        msg = "no such table: events"
        raise LookupError(msg)


def test_what_the_adapter_raises_unasked_is_told_with_its_traceback() -> None:
    contract = StoreMutants()
    contract.adapter = Fails
    with pytest.raises(BrokenPromiseError, match="LookupError: no such table: events") as broken:
        contract.test_es_02_expecting_nothing_where_something_is()
    assert isinstance(broken.value.__cause__, LookupError)


def test_the_plain_schedule_never_pauses_and_a_seed_always_pauses_alike() -> None:
    def pauses(seed: int, salt: str) -> list[int]:
        schedule = Schedule(seed, salt)
        return [schedule.pauses() for _ in range(50)]

    assert pauses(PLAIN, "ES-41") == [0] * 50
    assert pauses(3, "ES-41") == pauses(3, "ES-41")
    assert pauses(3, "ES-41") != pauses(4, "ES-41")
    assert pauses(3, "ES-41") != pauses(3, "ES-42")
    assert set(pauses(3, "ES-41")) <= set(range(9))


def test_a_driven_call_answers_raises_and_is_cancelled_as_itself(backend: str) -> None:
    async def body() -> None:
        schedule = Schedule(5, "drive")
        suspensions: list[int] = []

        async def call(turns: int) -> int:
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            if not turns:
                raise KeyError(turns)
            return turns

        assert await schedule.drive(call(3), lambda: suspensions.append(1)) == 3
        assert len(suspensions) >= 3
        with pytest.raises(KeyError):
            await schedule.drive(call(0))
        cleaned_up: list[bool] = []

        async def waits() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                cleaned_up.append(True)

        with anyio.CancelScope() as scope:
            await schedule.drive(waits(), scope.cancel)
        assert scope.cancelled_caught
        assert cleaned_up == [True]

    anyio.run(body, backend=backend)


@pytest.mark.parametrize("seed", [PLAIN, 5])
def test_a_suspension_within_two_driven_calls_counts_once(backend: str, seed: int) -> None:
    async def body() -> None:
        schedule = Schedule(seed, "nested")
        inner: list[int] = []
        outer: list[int] = []

        async def call() -> None:
            for _ in range(7):
                await anyio.lowlevel.cancel_shielded_checkpoint()

        async def calls() -> None:
            await schedule.drive(call(), lambda: inner.append(1))
            await schedule.drive(call(), lambda: inner.append(1))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(schedule.drive, call())
            await schedule.drive(calls(), lambda: outer.append(1))
        assert (len(inner), len(outer)) == (14, 14)

    anyio.run(body, backend=backend)
