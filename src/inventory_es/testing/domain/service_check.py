"""Programs over a service: the same calls at the same times over any store, with its faults, compared with the reference handler."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import NoReturn

import anyio

from inventory_es.application.commands.decision import CommandOutcome
from inventory_es.application.results import CommandResult, Reservation
from inventory_es.application.service import InventoryService
from inventory_es.domain.errors import ClockSkewError, CommandsRejectedError, InventoryError, RejectionError
from inventory_es.domain.events import Recorded
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Policy
from inventory_es.ports.errors import AppendOutcomeUnknownError, StoreUnavailableError
from inventory_es.testing.clock import ManualClock
from inventory_es.testing.domain.agreement import Agreement, afterwards, disagreement, outcome_problems
from inventory_es.testing.domain.formatting import describe
from inventory_es.testing.domain.history import PropertyError, check_history
from inventory_es.testing.domain.model import Model, Verdict
from inventory_es.testing.domain.program import Call, Program
from inventory_es.testing.domain.reference_handler import Answer, ReferenceHandler
from inventory_es.testing.domain.scenarios import START
from inventory_es.testing.faults import FaultKind, Faults
from inventory_es.testing.optional import require_event_loop

__tracebackhide__ = True
"""For pytest: a failure shows the line of the test that asked, not ours."""

ATTEMPTS = 10
"""How often a call is sent after errors that another try can mend. Idempotent, because the command is the same each time."""

OpenService = Callable[[ManualClock, Faults], AbstractAsyncContextManager[InventoryService]]
"""A function that opens a service over a fresh, empty store, with this clock. The host may wrap the store in these faults."""


def check_service(
    program: Program,
    open_service: OpenService,
    *,
    backend: str = "asyncio",
    policies: Sequence[Policy] = (),
    model: Model | None = None,
    together: int = 1,
) -> tuple[Recorded, ...]:
    """Play a program over a service, in one run of an event loop, and compare every answer and the history with the reference.

    The setup and the steps go one after the other, and each answer must be that of the reference handler. The parallel calls go at the
    same time, while appends fail as the program plans. Their outcomes must be those of some serial order.

    Args:
        program: the program.
        open_service: opens the service.
        backend: the event loop: ``asyncio`` or ``trio``.
        policies: the host's rules. The service must have the same policies.
        model: a fresh model to compare both with, such as one with a second statement of the rules. By default the rules of the kit with
            these policies.
        together: how many steps are sent together with ``execute_all``, so that all are accepted or none.

    Returns:
        The history that the service returns.

    Raises:
        PropertyError: the reference could not give an answer, or the history breaks a property.
        ImportError: the event loop is not installed.
    """
    require_event_loop(backend)
    try:
        held_against = Model(program.inventory_id, policies=policies) if model is None else model
        return anyio.run(_play, program, open_service, Agreement(held_against, policies), together, backend=backend)
    except PropertyError as error:
        raise error.with_traceback(None) from None  # the frames of the event loop say nothing to a test's author


async def _play(program: Program, open_service: OpenService, agreement: Agreement, together: int) -> tuple[Recorded, ...]:
    clock = ManualClock(START)
    handler = ReferenceHandler(program.inventory_id, policies=agreement.policies)
    plan = _Plan(dict(program.faults))
    async with open_service(clock, plan.faults) as service:
        for calls in [*_chunks(program.setup, 1), *_chunks(program.steps, together)]:
            clock.at = calls[-1].at
            if len(calls) > 1:
                await _play_together(service, agreement, handler, [Call(call.command, clock.at) for call in calls])
                continue
            answer, verdict = agreement.execute(handler, calls[0])
            compare(answer, await send(service, calls[0]), verdict)
        await _play_again(service, agreement, handler, clock)
        if program.parallel:
            clock.at = program.parallel[0].at
        outcomes: list[tuple[Call, CommandOutcome | InventoryError]] = []

        async def settle(call: Call) -> None:
            outcomes.append((call, await send(service, call)))

        plan.is_on = True
        async with anyio.create_task_group() as tasks:
            for call in program.parallel:
                tasks.start_soon(settle, call)
        plan.is_on = False
        history = await history_of(service, program.inventory_id)
    check_history(history)
    _check_serial(agreement, handler, clock.at, outcomes, history)
    return history


async def _play_again(service: InventoryService, agreement: Agreement, handler: ReferenceHandler, clock: ManualClock) -> None:
    """Send every accepted command once more. Each is replayed, with the present state of its reservation."""
    clock.at = max(clock.at, handler.inventory.last_time or clock.at)
    accepted = [Call(answer.command, clock.at) for answer in handler.answers if answer.appended]
    for call in [*accepted, *afterwards(list(handler.answers), clock.at)]:
        clock.at = call.at
        answer, verdict = agreement.execute(handler, call)
        compare(answer, await send(service, call), verdict)


def _chunks(calls: Sequence[Call], size: int) -> Iterator[list[Call]]:
    """Yield up to ``size`` neighbours at a time, with distinct ids, because ``execute_all`` takes no id twice."""
    chunk: list[Call] = []
    for call in calls:
        if len(chunk) == size or any(call.command.command_id == other.command.command_id for other in chunk):
            yield chunk
            chunk = []
        chunk.append(call)
    if chunk:
        yield chunk


async def _play_together(service: InventoryService, agreement: Agreement, handler: ReferenceHandler, calls: Sequence[Call]) -> None:
    trial = handler.fork()
    try:
        answers = [trial.execute(call.command, at=call.at) for call in calls]
    except ValueError:  # a count of a version that is not there, because an earlier set was refused
        return
    refused = {number: answer.error for number, answer in enumerate(answers) if answer.error is not None}
    skewed = next((error for error in refused.values() if isinstance(error, ClockSkewError)), None)
    expected: InventoryError | None = skewed
    if refused and skewed is None:
        rejections = tuple(error for error in refused.values() if isinstance(error, RejectionError))
        expected = CommandsRejectedError(rejections=rejections, indexes=tuple(refused))
    told = " + ".join(describe(call.command) for call in calls)
    try:
        outcomes = await service.execute_all([call.command for call in calls])
    except InventoryError as error:
        if error != expected:
            _unlike(told, expected, error)
        return
    if expected is not None:
        _unlike(told, expected, "they were accepted")
    for call, got in zip(calls, outcomes, strict=True):
        answer, verdict = agreement.execute(handler, call)
        if not answer.replayed:  # a replay returns the state of its reservation before the set
            compare(answer, got, verdict)


def _unlike(told: str, expected: InventoryError | None, got: object) -> NoReturn:
    wanted = "they are accepted" if expected is None else describe(expected)
    msg = f"{told}, together: expected that {wanted}, got {describe(got) if isinstance(got, InventoryError) else got}"
    raise PropertyError(msg, frozenset({"P30"}))


async def send(service: InventoryService, call: Call) -> CommandOutcome | InventoryError:
    """Execute a call, and return its outcome or refusal. Send again while the store is unavailable or the outcome unknown."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await service.execute(call.command)
        except (StoreUnavailableError, AppendOutcomeUnknownError) as error:
            if attempt == ATTEMPTS:
                return error
        except InventoryError as error:
            return error
    raise AssertionError


async def history_of(service: InventoryService, inventory_id: InventoryId) -> tuple[Recorded, ...]:
    """Return the whole history of an inventory from a service."""
    entries = service.history(inventory_id.product_id, inventory_id.store_id)
    return tuple([Recorded(entry.event, entry.version, entry.recorded_at) async for entry in entries])


def compare(answer: Answer, got: CommandOutcome | InventoryError, verdict: Verdict) -> None:
    """Compare one answer of a service with the reference's, and each field of its result with the model's.

    Raises:
        PropertyError: the answers differ.
    """
    error = got if isinstance(got, InventoryError) else None
    _same(answer, "is refused with", answer.error, error)
    if not isinstance(got, InventoryError):
        _same(answer, "is replayed", answer.replayed, got.replayed)
        version = answer.recorded[-1].version if answer.recorded else answer.before.version
        _same(answer, "leaves version", version, got.version)
    problems = outcome_problems(verdict, got)
    if problems:
        raise disagreement(Call(answer.command, answer.clock), verdict, describe(got), problems)


def _same(answer: Answer, what: str, expected: object, got: object) -> None:
    if got != expected:
        msg = f"{describe(answer.command)} {what} {describe(got)}; the reference says {describe(expected)}"
        raise PropertyError(msg, frozenset({"P29"}))


def _check_serial(
    agreement: Agreement,
    handler: ReferenceHandler,
    at: datetime,
    outcomes: Sequence[tuple[Call, CommandOutcome | InventoryError]],
    history: Sequence[Recorded],
) -> None:
    """Check that a serial order explains the outcomes of parallel calls.

    The accepted calls, in the order of their versions, must append on the handler what the store has. Every other call must have an answer
    that the handler would give in between.
    """
    waiting = [(call, got) for call, got in outcomes if not _has_appended(got, handler.inventory.version)]
    accepted = [(call, got) for call, got in outcomes if _has_appended(got, handler.inventory.version)]
    explained = _explained(handler, at, waiting)
    for call, got in sorted(accepted, key=lambda pair: _version(pair[1])):
        answer, verdict = agreement.execute(handler, Call(call.command, at))
        if answer.error is not None or not answer.appended or answer.recorded[-1].version != _version(got):
            _unexplained(call, got)
        problems = [] if getattr(got, "replayed", False) else outcome_problems(verdict, got)
        if problems:
            raise disagreement(call, verdict, describe(got), problems)
        explained |= _explained(handler, at, waiting)
    for number, (call, got) in enumerate(waiting):
        if number not in explained:
            _unexplained(call, got)
    if list(history) != handler.history:
        msg = f"the store has {list(history)}, a serial order gives {handler.history}"
        raise PropertyError(msg, frozenset({"P29"}))


def _explained(handler: ReferenceHandler, at: datetime, waiting: Sequence[tuple[Call, CommandOutcome | InventoryError]]) -> set[int]:
    found: set[int] = set()
    for number, (call, got) in enumerate(waiting):
        answer = handler.fork().execute(call.command, at=at)
        if not answer.appended and answer.error == (got if isinstance(got, InventoryError) else None):
            found.add(number)
    return found


def _has_appended(got: CommandOutcome | InventoryError, before: int) -> bool:
    return isinstance(got, Reservation | CommandResult) and _version(got) > before and getattr(got, "changed", True)


def _version(got: CommandOutcome | InventoryError) -> int:
    return 0 if isinstance(got, InventoryError) else got.version


def _unexplained(call: Call, got: CommandOutcome | InventoryError) -> NoReturn:
    msg = f"{call} got {describe(got)}: no serial order of the calls explains that"
    raise PropertyError(msg, frozenset({"P29"}))


class _Plan:
    """A plan of faults for the appends while it is on, counted from 1."""

    def __init__(self, plan: Mapping[int, FaultKind]) -> None:
        self.is_on = False
        self.faults = Faults(self._choose)
        self._plan = plan
        self._appends = 0

    def _choose(self, operation: str, _number: int) -> FaultKind | None:
        if not self.is_on or operation not in {"append", "append_group"}:
            return None
        self._appends += 1
        return self._plan.get(self._appends)
