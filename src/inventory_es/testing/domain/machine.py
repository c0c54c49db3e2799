"""A state machine for hypothesis: any sequence of commands, over the pure domain or over a service on any store.

A host subclasses it, adds its own rules, and gives the runner ``MyMachine.TestCase``. Every step is answered by the desk, which
is the reference; if a service is opened, its answer must be the same. At the end the history is held against the properties.
"""

from collections.abc import Generator, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from typing import ClassVar, Self

from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from inventory_es.application.service import InventoryService
from inventory_es.domain.commands import AddStock, Command
from inventory_es.domain.errors import HostFunctionError
from inventory_es.domain.events import Recorded
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory, Policy
from inventory_es.domain.reservation_book import InventorySnapshot
from inventory_es.testing.clock import ManualClock
from inventory_es.testing.domain.desk import Answer, Desk
from inventory_es.testing.domain.history import PropertyError, check_history
from inventory_es.testing.domain.program import Call, Program
from inventory_es.testing.domain.program_properties import check_program
from inventory_es.testing.domain.scenarios import SHELF, START
from inventory_es.testing.domain.service_runs import compare, history_of, send
from inventory_es.testing.domain.walker import Choices, Walker, next_time
from inventory_es.testing.optional import require_event_loop

__tracebackhide__ = True
"""For pytest: a failure shows the line of the test that asked, not ours."""

_FIELDS = st.integers(0, 2**24 - 1)
_OF_TRANSITION = "assert what must hold, and return nothing. It is called without await"
_OF_OPENING = "it gives an async context manager of a service, such as open_inventory(…), or None. It is called without await"


class InventoryMachine(RuleBasedStateMachine):
    """Any sequence of commands to one inventory. Subclass it and set what follows.

    Attributes:
        inventory_id: to which inventory.
        policies: the host's rules, under which the desk decides; give the same ones to the service.
        opening: units at the start; 0 for none.
        backend: the event loop that the service runs on: ``asyncio`` or ``trio``.
        desk: the reference, with the state, the history and every answer so far.
        clock: what the time is taken from; pass it to the service.
    """

    inventory_id: ClassVar[InventoryId] = SHELF
    policies: ClassVar[Sequence[Policy]] = ()
    opening: ClassVar[int] = 20
    backend: ClassVar[str] = "asyncio"

    def __init__(self) -> None:
        super().__init__()
        self.clock: ManualClock = ManualClock(START)
        self.desk: Desk = Desk(self.inventory_id, policies=self.policies)
        self._shadow = Inventory(self.inventory_id)
        self._sent: list[Call] = []
        self._is_told = True
        self._stack = ExitStack()
        service: object = self.open_service(self.clock)
        if service is not None and not isinstance(service, AbstractAsyncContextManager):
            raise HostFunctionError.about(role="hook", function=self.open_service, answer=service, expected=_OF_OPENING)
        if service is not None:
            require_event_loop(self.backend)
        self._remote = None if service is None else self._stack.enter_context(_Remote.over(service, self.backend))
        if self.opening:
            self.send(AddStock(inventory_id=self.inventory_id, command_id="opening", quantity=self.opening))

    def open_service(self, clock: ManualClock) -> AbstractAsyncContextManager[InventoryService] | None:
        """Hook: a service over a fresh, empty store, with this clock and the policies of this machine; ``None``: the domain alone.

        Args:
            clock: where the service must take its time from.
        """
        del clock
        return None

    def on_transition(self, before: InventorySnapshot, event: Recorded, after: InventorySnapshot) -> None:
        """Hook: assert what must hold of each event, knowing the states on both sides of it.

        Say what no event may do (no reserve promises more than 80 %), rather than what every state must be: a count or a loss
        may make the same promises too many without anybody having promised anything.
        """

    def send(self, command: Command) -> Answer:
        """Send a command now, and check all that can be checked. For the rules of a host.

        Args:
            command: addressed to the machine's inventory.

        Raises:
            PropertyError: the service answers otherwise than the reference.
        """
        self._is_told = False
        self._sent.append(Call(command, self.clock.now()))
        note(str(self._sent[-1]))
        answer = self.desk.execute(command, at=self.clock.now())
        if self._remote is not None:
            self._remote.compare(answer)
        for recorded in answer.appended:
            before = self._shadow.snapshot()
            self._shadow.apply(recorded)
            told: object = self.on_transition(before, recorded, self._shadow.snapshot())  # type: ignore[func-returns-value]  # a host's
            if told is not None:
                raise HostFunctionError.about(role="hook", function=self.on_transition, answer=told, expected=_OF_TRANSITION)
        self._is_told = True
        return answer

    def walker(self, fields: int) -> Walker:
        """Makes commands that fit the present state; see :class:`Walker`.

        Args:
            fields: a drawn number, 0 or more, that the choices are read off.
        """
        earlier = tuple(call.command for call in self._sent)
        return Walker(Choices(fields), self.desk.inventory, self.clock.now(), str(len(self._sent)), earlier)

    def teardown(self) -> None:
        """Hold the whole run against the properties, and the store's history against the reference's, unless a step failed."""
        with self._stack:
            if self._is_told:
                check_history(self.desk.history)
                check_program(Program(inventory_id=self.inventory_id, steps=tuple(self._sent)), policies=self.policies)
                if self._remote is not None:
                    self._remote.compare_history(self.desk)

    def _has_open(self) -> bool:
        return self.desk.inventory.open_count > 0

    @rule(number=_FIELDS)
    def wait(self, number: int) -> None:
        """Time passes, stands still, or stops right around the end of a hold."""
        self.clock.at = next_time(Choices(number), self.desk.inventory, self.clock.now())

    @rule(fields=_FIELDS)
    def reserve(self, fields: int) -> None:
        """Send a reserve."""
        self.send(self.walker(fields).reserve())

    @precondition(_has_open)
    @rule(fields=_FIELDS)
    def commit(self, fields: int) -> None:
        """Send a commit."""
        self.send(self.walker(fields).commit())

    @precondition(_has_open)
    @rule(fields=_FIELDS)
    def release(self, fields: int) -> None:
        """Send a release."""
        self.send(self.walker(fields).release())

    @precondition(_has_open)
    @rule(fields=_FIELDS)
    def extend(self, fields: int) -> None:
        """Send an extension."""
        self.send(self.walker(fields).extend())

    @precondition(_has_open)
    @rule(fields=_FIELDS)
    def confirm(self, fields: int) -> None:
        """Send a confirmation."""
        self.send(self.walker(fields).confirm())

    @rule(fields=_FIELDS)
    def add(self, fields: int) -> None:
        """Send an addition."""
        self.send(self.walker(fields).add())

    @rule(fields=_FIELDS)
    def adjust(self, fields: int) -> None:
        """Send an adjustment."""
        self.send(self.walker(fields).adjust())

    @precondition(_has_open)
    @rule(fields=_FIELDS)
    def bump(self, fields: int) -> None:
        """Send an adjustment that takes promised units."""
        self.send(self.walker(fields).bump())

    @rule(fields=_FIELDS)
    def count(self, fields: int) -> None:
        """Send a count."""
        self.send(self.walker(fields).count())

    @rule(fields=_FIELDS)
    def sweep(self, fields: int) -> None:
        """Send a sweep."""
        self.send(self.walker(fields).sweep())

    @precondition(lambda self: bool(self._sent))
    @rule(fields=_FIELDS)
    def again(self, fields: int) -> None:
        """Send an earlier command once more."""
        self.send(self.walker(fields).again())

    @precondition(lambda self: bool(self._sent))
    @rule(fields=_FIELDS)
    def misuse(self, fields: int) -> None:
        """Send another payload under the id of an earlier command."""
        self.send(self.walker(fields).misuse())


class _Remote:
    """A service on an event loop in a thread of its own, asked step by step."""

    def __init__(self, service: InventoryService, portal: BlockingPortal) -> None:
        self._service = service
        self._portal = portal

    @classmethod
    @contextmanager
    def over(cls, service: AbstractAsyncContextManager[InventoryService], backend: str) -> Generator[Self, None, None]:
        with start_blocking_portal(backend) as portal, portal.wrap_async_context_manager(service) as opened:
            yield cls(opened, portal)

    def compare(self, answer: Answer) -> None:
        call = Call(answer.command, answer.clock)
        compare(answer, self._portal.call(send, self._service, call))

    def compare_history(self, desk: Desk) -> None:
        got = list(self._portal.call(history_of, self._service, desk.inventory.inventory_id))
        if got != desk.history:
            msg = f"the store has {len(got)} events, the reference {len(desk.history)}: {got} instead of {desk.history}"
            raise PropertyError(msg, frozenset({"P6"}))
