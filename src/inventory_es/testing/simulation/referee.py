"""The referee, which checks the log and every answer of a simulation against the domain after the last turn."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby

import attrs

from inventory_es.adapters.memory.event_store import MemoryEventLog
from inventory_es.application.commands.handler_settings import HandlerSettings
from inventory_es.application.results import Reservation
from inventory_es.domain.command_identity import EventIds, fingerprint
from inventory_es.domain.commands import Command, RecordCount
from inventory_es.domain.errors import CommandIdReusedError, RejectionError, ReservationIdTakenError
from inventory_es.domain.events import Event, Recorded
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory
from inventory_es.ports import EventCodec, EventMetadata, RecordedEvent
from inventory_es.testing.domain.formatting import describe
from inventory_es.testing.domain.history import check_history
from inventory_es.testing.simulation.breach import EXPLAINED, KEPT, NAMED_ONCE, ONCE, SERIAL, WHOLE, BreachError
from inventory_es.testing.simulation.clients import Answer, Observation

_SKEW = HandlerSettings().max_clock_skew
_PAGE = 1 << 30


@attrs.frozen
class Entry:
    """One event of a stream, decoded.

    Attributes:
        stored: the event as the log holds it.
        event: the decoded event.
        metadata: the command behind the event.
    """

    stored: RecordedEvent
    event: Event
    metadata: EventMetadata

    @property
    def recorded(self) -> Recorded:
        """The event with its version and time."""
        return Recorded(self.event, self.stored.version, self.stored.recorded_at)


class StreamReferee:
    """A referee of one stream, which knows every state that the stream ever had.

    Args:
        inventory_id: the inventory of the stream.
        log: the log that holds the stream.
        codec: decodes the events.

    Raises:
        PropertyError: the stream breaks a property that a log alone shows.
    """

    def __init__(self, inventory_id: InventoryId, log: MemoryEventLog, codec: EventCodec) -> None:
        self.inventory_id = inventory_id
        self.entries: list[Entry] = [
            Entry(one, codec.decode(one), codec.decode_metadata(one)) for one in log.read(inventory_id.stream, 0, _PAGE)
        ]
        self._ids = EventIds(inventory_id.stream)
        check_history([one.recorded for one in self.entries])
        inventory = Inventory(inventory_id)
        self._states = [inventory.snapshot()]
        for one in self.entries:
            inventory.apply(one.recorded)
            self._states.append(inventory.snapshot())

    def check(self, sent: Sequence[Command], answers: Sequence[Answer], observations: Sequence[Observation]) -> None:
        """Check the stream against the commands that were sent and the answers that came.

        Raises:
            BreachError: a promise is broken.
        """
        self._check_serial({(one.command_id, fingerprint(one)): one for one in sent})
        self._check_presence(answers)
        for answer in answers:
            self._check_answer(answer)
        for observation in observations:
            self._check_observation(observation)

    def holds(self, command: Command) -> list[Entry]:
        """Return the events of a command."""
        mark = fingerprint(command)
        return [one for one in self.entries if (one.metadata.command_id, one.metadata.fingerprint) == (command.command_id, mark)]

    def _check_serial(self, sent: dict[tuple[str | None, str | None], Command]) -> None:
        """Decide the accepted commands again, in the order of the log, and compare the events."""
        seen: set[str | None] = set()
        for key, group in groupby(self.entries, key=lambda one: (one.metadata.command_id, one.metadata.fingerprint)):
            entries = list(group)
            first = entries[0].stored
            command = sent.get(key)
            if command is None:
                raise BreachError(KEPT, "events of commands that were sent", f"{self._place(first)} of {key[0]}", "nobody sent that")
            if key[0] in seen:
                raise BreachError(ONCE, f"{describe(command)} once", f"again at {self._place(first)}", "it was accepted twice")
            seen.add(key[0])
            try:
                expected = self._decided(command, first.version - 1, first.recorded_at)
            except (RejectionError, ValueError) as error:
                refused = f"{self._place(first)}, which {error!r} refuses"
                raise BreachError(SERIAL, f"{describe(command)} to be refused", refused, "it was decided on another state") from error
            if expected != tuple(one.event for one in entries) or {one.stored.recorded_at for one in entries} != {first.recorded_at}:
                wanted = f"{describe(command)} at {self._place(first)} to give {_describe_events(expected)}"
                got = _describe_events([one.event for one in entries])
                raise BreachError(SERIAL, wanted, got, "it was decided on another state than the one that it changed")

    def _check_presence(self, answers: Sequence[Answer]) -> None:
        accepted = {_key(one.command) for one in answers if one.is_accepted}
        newly = [_key(one.command) for one in answers if one.is_accepted and not getattr(one.outcome, "replayed", False)]
        if len(set(newly)) < len(newly):
            raise BreachError(ONCE, "a command to be newly accepted once", "two acknowledgements", "its second sender was not told")
        for answer in answers:
            command, kept = answer.command, self.holds(answer.command)
            if _key(command) in accepted and not kept:
                raise BreachError(KEPT, f"{describe(command)} in the log", "it is not", "what was acknowledged is lost")
            if _key(command) not in accepted and kept:
                raise BreachError(
                    KEPT,
                    f"no trace of {describe(command)}",
                    f"its event at {self._place(kept[0].stored)}",
                    "its sender was told that it is refused",
                )

    def _check_answer(self, answer: Answer) -> None:
        kept = self.holds(answer.command)
        last = kept[-1] if kept else None
        if answer.is_accepted and not isinstance(answer.outcome, Exception) and last is not None:
            outcome, replayed = answer.outcome, answer.outcome.replayed
            balance = (outcome.quantity, outcome.expires_at) if isinstance(outcome, Reservation) else (outcome.on_hand, outcome.reserved)
            names = ("quantity", "expires_at") if isinstance(outcome, Reservation) else ("on_hand", "reserved")
            expected = (last.stored.version, *(getattr(last.event, name) for name in names))
            if (outcome.version, *balance) != expected or outcome.position < last.stored.position:
                raise BreachError(
                    KEPT,
                    f"{describe(answer.command)} acknowledged as {expected}",
                    f"{(outcome.version, *balance)}",
                    "that is another event",
                )
            if not replayed and not answer.since < outcome.version <= answer.until:
                raise BreachError(
                    EXPLAINED,
                    f"a version from {answer.since + 1} to {answer.until}",
                    f"{outcome.version}",
                    f"{describe(answer.command)} was not then",
                )
            return
        if kept and kept[-1].stored.version <= answer.since:
            raise BreachError(
                ONCE, f"{describe(answer.command)} to be replayed", _describe_outcome(answer), "it had been accepted before it was sent"
            )
        if not any(self._gives(answer, version, clock) for version in range(answer.since, answer.until + 1) for clock in answer.clocks):
            versions = f"{answer.since} to {answer.until}"
            raise BreachError(
                EXPLAINED,
                f"an answer that a version from {versions} gives",
                _describe_outcome(answer),
                f"none refuses {describe(answer.command)} like that",
            )

    def _gives(self, answer: Answer, version: int, clock: datetime) -> bool:
        outcome, command = answer.outcome, answer.command
        if isinstance(outcome, CommandIdReusedError | ReservationIdTakenError):
            first = self._ids.first_own(command)
            if any(one.stored.event_id == first and one.metadata.fingerprint != fingerprint(command) for one in self.entries[:version]):
                return True
        last_time = self._states[version].last_time
        if last_time is not None and last_time - clock > _SKEW:
            return False
        try:
            events = self._decided(command, version, clock if last_time is None else max(clock, last_time))
        except RejectionError as error:
            return error == outcome
        except ValueError as error:
            return isinstance(outcome, ValueError) and str(error) == str(outcome)
        return not events and not isinstance(outcome, Exception) and outcome.version == version

    def _check_observation(self, observation: Observation) -> None:
        if not observation.since <= observation.version <= observation.until:
            expected = f"the stock at a version from {observation.since} to {observation.until}"
            raise BreachError(EXPLAINED, expected, f"version {observation.version}", "the answer was true at another time")
        balance = self.entries[observation.version - 1].event if observation.version else None
        known = (0, 0) if balance is None else (balance.on_hand, balance.reserved)
        if known != (observation.on_hand, observation.reserved):
            got = f"{observation.on_hand}/{observation.reserved}"
            raise BreachError(EXPLAINED, f"{known[0]}/{known[1]} at version {observation.version}", got, "the answer was never true")

    def _decided(self, command: Command, version: int, at: datetime) -> tuple[Event, ...]:
        figure = None
        if isinstance(command, RecordCount) and command.observed_version <= version:
            figure = self.entries[command.observed_version - 1].event.on_hand if command.observed_version else 0
        return Inventory.from_snapshot(self._states[version]).decide(command, at=at, observed_on_hand=figure)

    def _place(self, stored: RecordedEvent) -> str:
        return f"{stored.stream}@{stored.version}"


def check_orders(orders: Sequence[Sequence[Command]], referees: dict[InventoryId, StreamReferee]) -> None:
    """Check that every order is wholly in the log, or wholly absent.

    Raises:
        BreachError: an order is there in part.
    """
    for order in orders:
        kept = [referees[one.inventory_id].holds(one) for one in order]
        if any(kept) and not all(kept):
            there = f"{sum(map(bool, kept))} of {len(kept)} lines"
            raise BreachError(WHOLE, "every line or none", there, f"order {order[0].command_id} is torn")


def check_misuse(command: Command, error: object, before: int, after: int) -> None:
    """Check that another payload under a known id was refused, and changed nothing.

    Raises:
        BreachError: the command was accepted.
    """
    if before != after or not isinstance(error, RejectionError):
        raise BreachError(NAMED_ONCE, f"{describe(command)} to be refused", repr(error), f"the log went from {before} to {after} events")


def _key(command: Command) -> tuple[str, str]:
    return command.command_id, fingerprint(command)


def _describe_outcome(answer: Answer) -> str:
    return describe(answer.outcome) if not isinstance(answer.outcome, ValueError) else repr(answer.outcome)


def _describe_events(events: Sequence[Event]) -> str:
    return "[" + ", ".join(map(describe, events)) + "]"
