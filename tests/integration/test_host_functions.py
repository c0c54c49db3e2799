"""Functions of a host: what gives something that its role does not know is told so, and never agrees by silence."""

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import anyio
import attrs
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from inventory_es.adapters.memory import MemoryReadModel
from inventory_es.adapters.serialization import JsonEventCodec, default_registry
from inventory_es.application.commands.handler_settings import HandlerSettings
from inventory_es.application.following.projection import Projection
from inventory_es.application.following.subscription import EventFilter
from inventory_es.application.observers import CommandFinished, Observers
from inventory_es.application.projections import ledger, low_stock
from inventory_es.domain.commands import AddStock
from inventory_es.domain.errors import HostFunctionError, PolicyRejectedError
from inventory_es.domain.processes.allocation import allocate
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import EventDecodeError
from inventory_es.ports.read_model import ProjectionId
from inventory_es.processes import Orders
from inventory_es.testing.clock import ManualClock
from inventory_es.testing.domain import InventoryMachine
from inventory_es.testing.domain.scenarios import scenario
from inventory_es.testing.faults import Faults
from inventory_es.wiring import open_inventory
from tests.integration.command_side import SHELF, P, S
from tests.integration.read_side import runner
from tests.unit.adapters.serialization.recording import recorded

NO = "too_many"
ADD = AddStock(inventory_id=SHELF, command_id="add", quantity=5)


def refuses_by_false(*_: object) -> bool:
    return False


def agrees_by_true(*_: object) -> bool:
    return True


def gives_the_error(*_: object) -> PolicyRejectedError:
    return PolicyRejectedError(NO)


def yields(*_: object) -> Iterator[None]:
    yield None
    raise PolicyRejectedError(NO)


async def waits(*_: object) -> None:
    raise PolicyRejectedError(NO)


def hides_a_coroutine(*arguments: object) -> object:
    return waits(*arguments)


class Rule:
    async def __call__(self, *_: object) -> None:
        raise PolicyRejectedError(NO)


@pytest.mark.parametrize("policy, name, returned", [
    (refuses_by_false, "refuses_by_false", "bool"),
    (agrees_by_true, "agrees_by_true", "bool"),
    (gives_the_error, "gives_the_error", "PolicyRejectedError"),
    (yields, "yields", "generator"),
    (hides_a_coroutine, "hides_a_coroutine", "coroutine"),
    (lambda *_: "no", "<lambda>", "str"),
    (partial(refuses_by_false), "partial", "bool"),
])  # fmt: skip
def test_a_policy_that_returns_something_refuses_with_an_error_that_names_it(backend: str, policy: Any, name: str, returned: str) -> None:
    async def case() -> None:
        async with open_inventory("memory:", policies=[policy]) as service:
            for call in (service.add_stock(P, S, 5, command_id="mine"), service.execute_all([ADD])):
                with pytest.raises(HostFunctionError) as refused:
                    await call
                assert refused.value.function.endswith(name)
                assert (refused.value.role, refused.value.returned) == ("policy", returned)
                assert "raise PolicyRejectedError" in str(refused.value)
            assert (await service.stock(P, S)).version == 0

    anyio.run(case, backend=backend)


def test_a_scenario_of_the_kit_tells_it_too() -> None:
    with pytest.raises(HostFunctionError, match="policy refuses_by_false returned a bool"):
        scenario(SHELF, policies=[refuses_by_false]).when(ADD)  # type: ignore[list-item]  # what is tested


@pytest.mark.parametrize("policy", [waits, Rule(), partial(waits)], ids=["function", "object", "partial"])
def test_a_policy_that_would_have_to_be_awaited_is_told_on_opening(policy: Any) -> None:
    with pytest.raises(TypeError, match=r"policy .* must be no coroutine function: a policy is called without await"):
        open_inventory("memory:", policies=[policy])


@pytest.mark.parametrize("policies", [7, None, [7], ["rule"], refuses_by_false], ids=["a number", "None", "[7]", "[text]", "a function"])
def test_what_is_no_policy_is_told_on_opening(policies: Any) -> None:
    with pytest.raises(TypeError, match=r"polic(y|ies) must be a (function|sequence)"):
        open_inventory("memory:", policies=policies)


class Waits:
    async def command_finished(self, record: CommandFinished) -> None: ...


class Misspelt:
    def command_finish(self, record: CommandFinished) -> None: ...


class Hides:
    def command_finished(self, record: CommandFinished) -> object:
        return waits(record)


@pytest.mark.parametrize("observers, problem", [
    ([Waits()], "Waits.command_finished must be no coroutine function"),
    ([Misspelt()], "an observer has any of the methods command_finished, .* a Misspelt has none"),
    ([None], "a NoneType has none"),
    (Hides(), "observers must be a sequence"),
], ids=["asynchronous", "misspelt", "nothing", "alone"])  # fmt: skip
def test_an_observer_that_would_never_be_told_is_refused(observers: Any, problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        open_inventory("memory:", observers=observers)


def test_an_observer_that_gives_a_coroutine_is_logged(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    async def case() -> None:
        async with open_inventory("memory:", observers=[Hides()]) as service:
            await service.add_stock(P, S, 5)

    with caplog.at_level(logging.ERROR, logger="inventory_es"):
        anyio.run(case, backend=backend)
    assert "observer Hides.command_finished returned a coroutine" in caplog.text


def test_observers_of_guards_are_checked_alike() -> None:
    with pytest.raises(TypeError, match="a Misspelt has none"):
        Observers([Misspelt()])


@pytest.mark.parametrize("argument", ["clock", "ids", "codec", "cache", "bus", "settings", "projections"])
@pytest.mark.parametrize("wrong", [7, "x", object()], ids=["a number", "a text", "an object"])
def test_a_part_of_another_kind_is_told_on_opening(argument: str, wrong: Any) -> None:
    arguments: dict[str, Any] = {argument: wrong, "read_models": "memory:"}
    of_url = {"cache": "'x' is no cache: known are memory:", "bus": "'x' is no event bus: known are amqp:"}  # a text is a URL to these
    told = of_url.get(argument, argument) if wrong == "x" else argument
    with pytest.raises(ValueError if told != argument else TypeError, match=told):
        open_inventory("memory:", **arguments)


def projection(apply: Callable[..., Any]) -> Projection:
    return attrs.evolve(ledger(), projection_id=ProjectionId("mine", 1), apply=apply, wanted=EventFilter())


async def error_of(one: Projection, *, on_failure: str = "stop") -> str:
    model, clock = MemoryReadModel(), ManualClock()
    async with open_inventory("memory:", clock=clock) as service:
        await service.add_stock(P, S, 5)
        working = runner(one, service.store, model, clock, on_failure=on_failure)
        await working.catch_up()
        return str((await working.status()).error)


@pytest.mark.parametrize("answer, problem", [
    (lambda *_: None, "projection .*<lambda> returned a NoneType: it gives an iterable of changes"),
    (lambda *_: 7, "returned a int"),
    (waits, "projection waits returned a coroutine"),
    (lambda *_: "row", "ValueError"),
    (lambda *_: {"table": "movements"}, "ValueError"),
    (lambda *_: [None], "ValueError"),
    (lambda *_: [("movements", {})], "ValueError"),
], ids=["nothing", "a number", "a coroutine", "a text", "a dict", "no change", "a tuple"])  # fmt: skip
def test_a_projection_that_gives_no_changes_stops_with_an_error(backend: str, answer: Any, problem: str) -> None:
    async def case() -> None:
        with pytest.raises(AssertionError, match=problem):  # as the runner tells it
            raise AssertionError(await error_of(projection(answer)))

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("threshold", [None, "5", 5.0, True, -1], ids=repr)
def test_a_threshold_that_is_no_number_of_units_stops_with_an_error(backend: str, threshold: Any) -> None:
    async def case() -> None:
        told = await error_of(low_stock(lambda _product: threshold))
        assert "it gives a whole number of units, 0 or more" in told
        assert f"<lambda> returned a {type(threshold).__name__}" in told

    anyio.run(case, backend=backend)


def test_a_threshold_that_would_have_to_be_awaited_stops_with_an_error(backend: str) -> None:
    async def case() -> None:
        wrong: Any = waits
        assert "threshold waits returned a coroutine" in await error_of(low_stock(wrong))

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("on_failure", ["parked", "", None, "STOP"], ids=repr)
def test_what_is_no_policy_for_failures_is_refused(backend: str, on_failure: Any) -> None:
    async def case() -> None:
        with pytest.raises(ValueError, match="on_failure must be one of stop, retry, park"):
            await error_of(ledger(), on_failure=on_failure)
        async with open_inventory("memory:", read_models="memory:") as service:
            for follow in (service.followers.run, service.followers.catch_up):
                with pytest.raises(ValueError, match="on_failure must be one of stop, retry, park"):
                    await follow(on_failure=on_failure)

    anyio.run(case, backend=backend)


@attrs.frozen
class Parcel:
    size: int


async def grows(_payload: dict[str, Any]) -> dict[str, Any]:
    return {"size": 1}


@pytest.mark.parametrize("upcaster, problem", [
    (grows, "upcaster grows gave a coroutine and not a dict"),
    (partial(lambda *_: None, 1), "upcaster partial gave a NoneType and not a dict"),
    (lambda _: [("size", 1)], "gave a list and not a dict"),
], ids=["coroutine", "partial", "list"])  # fmt: skip
def test_an_upcaster_that_gives_no_payload_is_an_error(upcaster: Any, problem: str) -> None:
    registry = default_registry().with_event(Parcel, name="Parcel", schema_version=2, upcasters={1: upcaster})
    with pytest.raises(EventDecodeError, match=problem):
        JsonEventCodec(registry=registry).decode(recorded(b"{}", event_type="Parcel", stream=StreamId("parcel", "1")))


@pytest.mark.parametrize(
    "strategy", [lambda *_: None, lambda *_: [("a", "b", 1)], waits, lambda *_: {"a": 1}], ids=["nothing", "tuples", "coroutine", "dict"]
)
def test_a_strategy_that_gives_no_items_is_an_error(strategy: Any) -> None:
    with pytest.raises(HostFunctionError, match=r"strategy .* it gives any number of OrderItem"):
        allocate({"a": 1}, {"b": {"a": 1}}, strategy=strategy)


def test_a_fault_that_nobody_knows_is_an_error() -> None:
    wrong: Any = "failbefore"
    with pytest.raises(ValueError, match="a fault is one of"):
        Faults(lambda _operation, _number: wrong).next("append")


@pytest.mark.parametrize("answer", [False, True, "broken"], ids=repr)
def test_a_hook_of_the_machine_that_returns_something_asserts_nothing(answer: Any) -> None:
    class Mine(InventoryMachine):
        def on_transition(self, before: object, event: object, after: object) -> Any:
            return answer

    with pytest.raises(HostFunctionError, match=r"hook .*on_transition returned a .*: assert what must hold"):
        run_state_machine_as_test(Mine, settings=settings(max_examples=1, stateful_step_count=1, phases=[Phase.generate]))


def test_a_hook_of_the_machine_that_opens_no_service_is_told() -> None:
    class Mine(InventoryMachine):
        async def open_service(self, clock: ManualClock) -> Any:  # type: ignore[override]  # what is tested
            return clock

    with pytest.raises(HostFunctionError, match=r"hook .*open_service returned a coroutine"):
        Mine()


def test_a_policy_that_raises_still_refuses(backend: str) -> None:
    def never(*_: object) -> None:
        raise PolicyRejectedError(NO)

    async def case() -> None:
        async with open_inventory("memory:", policies=[never]) as service:
            with pytest.raises(PolicyRejectedError):
                await service.execute(ADD)

    anyio.run(case, backend=backend)


class NaiveClock:
    def now(self) -> datetime:
        return datetime(2026, 1, 5, tzinfo=UTC).replace(tzinfo=None)


class TextClock:
    def now(self) -> str:
        return "now"


class SlowClock:
    async def now(self) -> datetime:
        return datetime(2026, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "clock, returned", [(NaiveClock(), "datetime"), (TextClock(), "str"), (SlowClock(), "coroutine")], ids=["naive", "a text", "slow"]
)
def test_a_clock_that_gives_no_instant_in_utc_is_told_on_opening(clock: Any, returned: str) -> None:
    with pytest.raises(HostFunctionError, match=rf"clock .*\.now returned a {returned}: it gives an aware datetime in UTC"):
        open_inventory("memory:", clock=clock)


@pytest.mark.parametrize("bounds", [
    {"max_attempts": "3"}, {"max_batch": 1.5}, {"max_waiting": None}, {"expiry_chunk": True}, {"warm_inventories": -1}, {"first_wait": -1},
    {"longest_wait": "1"}, {"first_wait": float("nan")}, {"max_clock_skew": 60}, {"max_clock_jump": None}, {"snapshot_after": 0},
], ids=repr)  # fmt: skip
def test_a_bound_that_is_none_is_named(bounds: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match=next(iter(bounds))):
        HandlerSettings(**bounds)


class OddClock(ManualClock):
    """A clock whose jump is given by the test."""

    jump: Any


async def gives_later() -> float:
    return 0.0


@pytest.mark.parametrize("gives", [None, "0", timedelta(0), float("nan"), float("-inf"), 10**400, gives_later])
def test_a_clock_that_can_not_tell_its_jump_is_told_so_and_nothing_is_written(gives: Any, backend: str) -> None:
    async def case() -> None:
        clock = OddClock()
        clock.jump = gives if callable(gives) else lambda: gives
        async with open_inventory("memory:", clock=clock) as service:
            for attempt in (service.add_stock(P, S, 1), Orders(service).reserve("O1", [(P, S, 1)], ttl=timedelta(1))):
                with pytest.raises(HostFunctionError, match="it gives a finite number of seconds, without await") as told:
                    await attempt
                assert told.value.role == "clock"
            assert (await service.stock(P, S)).version == 0

    anyio.run(case, backend=backend)
