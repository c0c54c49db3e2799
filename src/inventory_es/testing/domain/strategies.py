"""Strategies for hypothesis: values, commands, events, histories and programs. Importing this registers the values for ``st.from_type``.

``commands`` and ``events`` are valid by themselves, with any fields. ``commands_for``, ``histories`` and ``programs`` follow a state, and
lead into the corners of the domain:

- equal instants, a time of expiry, and one microsecond on either side of it;
- all units that remain, and one more;
- clocks that stand still or run backwards;
- counts below the reserved units;
- commands sent twice, and ids used twice.

hypothesis draws a few numbers per step, and a command generator reads its choices off them. So drawing is quick. Shrinking takes whole
steps away, and turns the other choices into the first option, which is the simple one.
"""

import string
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from inventory_es.domain.commands import (
    AddStock,
    AdjustStock,
    Command,
    CommitStock,
    ConfirmReservation,
    ExpireReservations,
    ExtendReservation,
    RecordCount,
    ReleaseStock,
    ReserveStock,
)
from inventory_es.domain.events import (
    Event,
    Recorded,
    ReservationExtendedEvent,
    StockAddedEvent,
    StockAdjustedEvent,
    StockCommittedEvent,
    StockReleasedEvent,
    StockReservedEvent,
)
from inventory_es.domain.identifiers import MAX_REFERENCE_LENGTH, InventoryId, ReservationRef
from inventory_es.domain.inventory import Inventory, Policy
from inventory_es.domain.quantity import MAX_QUANTITY, StockQuantity
from inventory_es.domain.reasons import AddReason, AdjustReason, CommitReason, Purpose, ReleaseReason, Remainder, Shortfall
from inventory_es.domain.stream_id import MAX_PART_LENGTH, MAX_PARTS, StreamId
from inventory_es.testing.domain.command_generator import OPENINGS, RUSHES, Choices, generate, next_command, next_time
from inventory_es.testing.domain.program import Call, Program
from inventory_es.testing.domain.purity import ask_twice
from inventory_es.testing.domain.reference_handler import ReferenceHandler
from inventory_es.testing.domain.scenarios import SHELF
from inventory_es.testing.faults import FaultKind

NASTY_IDENTIFIERS = (
    "-", "--", "%", "%2d", "%252d", "%%", "a-b", "a", "b-c", "A", "É", "é", "e\u0301", "ß", "İ", "ı", "ﬁ",
    ".", "..", "../x", "/", "\\", "a/b", "con", "NUL", "aux.txt", " ", " a", "a ", "a b", ":", "*", "?", '"', "'", "<", "|", "~", "$HOME",
    "'; DROP TABLE events; --", "${x}", "{{x}}", "null", "None", "0", "-1", "1e309", "\u00a0", "\u2028", "\u202e", "\ufeff", "\U0001f4e6",
    "\U0001f1e9\U0001f1ea", "0f8fad5b-d9cb-469f-a165-70867728950e", "0F8FAD5B-D9CB-469F-A165-70867728950E", "0f8fad5b", "d9cb", "469f",
    "a165", "70867728950e", "0f8fad5b-d9cb-469f-a165", "x" * MAX_PART_LENGTH, "-" * MAX_PART_LENGTH, "\U0001f4e6" * MAX_PART_LENGTH,
)  # fmt: skip
"""Identifiers that break storage: separators, escapes, case, normal forms, reserved names, halves of UUIDs, the longest."""

_LEGAL = st.characters(exclude_categories=("Cc", "Cs"))
_FIRST_DAY = datetime(2000, 1, 1)  # noqa: DTZ001  # hypothesis wants bounds without a time zone
_LAST_DAY = datetime(2200, 1, 1)  # noqa: DTZ001  # likewise


def identifiers() -> st.SearchStrategy[str]:
    """Draw valid identifiers of products, stores, reservations, commands and owners, many of them nasty."""
    pieces = st.sampled_from((8, 4, 4, 4, 12)).flatmap(lambda n: st.text("0123456789abcdef", min_size=n, max_size=n))
    return st.one_of(
        st.text(string.ascii_letters + string.digits + "-_.%", min_size=1, max_size=8),
        st.sampled_from(NASTY_IDENTIFIERS),
        st.text(_LEGAL, min_size=1, max_size=MAX_PART_LENGTH),
        st.uuids().map(str),
        pieces,
    )


def references() -> st.SearchStrategy[str | None]:
    """Draw valid references of commands, or ``None``."""
    text = st.text(_LEGAL, min_size=1, max_size=MAX_REFERENCE_LENGTH)
    return st.one_of(st.none(), st.sampled_from(("order:1001", "urn:sheet:7")), text)


def quantities(min_units: int = 1, max_units: int = MAX_QUANTITY) -> st.SearchStrategy[int]:
    """Draw counts of units, mostly small ones, with the bounds among them.

    Args:
        min_units: the smallest count, 0 or more.
        max_units: the largest count, up to 2^53−1.
    """
    return st.one_of(
        st.integers(min_units, min(max_units, min_units + 9)),
        st.sampled_from(sorted({min_units, max_units, max(min_units, max_units - 1)})),
        st.integers(min_units, max_units),
    )


def instants() -> st.SearchStrategy[datetime]:
    """Draw aware datetimes in UTC with microseconds, from 2000 to 2200."""
    return st.datetimes(_FIRST_DAY, _LAST_DAY, timezones=st.just(UTC))


def times_to_live() -> st.SearchStrategy[timedelta]:
    """Draw valid times to live, from a microsecond to thirty years, with the usual ones among them."""
    usual = (timedelta(microseconds=1), timedelta(seconds=1), timedelta(minutes=15), timedelta(days=1))
    return st.one_of(st.sampled_from(usual), st.timedeltas(timedelta(microseconds=1), timedelta(days=10_957)))


def inventory_ids() -> st.SearchStrategy[InventoryId]:
    """Draw identities of inventories."""
    return st.builds(InventoryId, identifiers(), identifiers())


def reservation_refs() -> st.SearchStrategy[ReservationRef]:
    """Draw addresses of reservations."""
    return st.builds(ReservationRef, identifiers(), identifiers(), identifiers())


def stream_ids() -> st.SearchStrategy[StreamId]:
    """Draw ids of streams of any category, with one to sixteen parts, some with control characters."""
    categories = st.text(string.ascii_lowercase + string.digits + "_", max_size=12).map(lambda rest: f"s{rest}")
    part = st.one_of(identifiers(), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8))
    return st.builds(_stream_id, categories, st.lists(part, min_size=1, max_size=MAX_PARTS))


def commands(inventory_id: st.SearchStrategy[InventoryId] | None = None) -> st.SearchStrategy[Command]:
    """Draw commands of every kind with fields of any valid value. Most of them are refused in most states.

    Args:
        inventory_id: the inventories of the commands; any by default.
    """
    return st.one_of(*_by_command(inventory_id or inventory_ids()).values())


def events(inventory_id: st.SearchStrategy[InventoryId] | None = None) -> st.SearchStrategy[Event]:
    """Draw events of every kind with fields of any valid value, for codecs and stores, which know no history.

    Args:
        inventory_id: the inventories of the events; any by default.
    """
    return st.one_of(*_by_event(inventory_id or inventory_ids()).values())


def _by_command(where: st.SearchStrategy[InventoryId]) -> dict[type[Any], st.SearchStrategy[Any]]:
    named: dict[str, st.SearchStrategy[Any]] = {"inventory_id": where, "command_id": identifiers(), "reference": references()}
    held = {**named, "reservation_id": identifiers()}
    some, shortfalls = st.none() | quantities(), st.sampled_from(Shortfall)
    callers = st.sampled_from((ReleaseReason.CANCELLED, ReleaseReason.COMPENSATION))
    differences = st.sampled_from([reason for reason in AdjustReason if reason is not AdjustReason.COUNT])
    return {
        AddStock: st.builds(AddStock, **named, quantity=quantities(), reason=st.sampled_from(AddReason)),
        ReserveStock: st.builds(
            ReserveStock,
            inventory_id=where,
            reservation_id=identifiers(),
            reference=references(),
            quantity=quantities(),
            ttl=st.none() | times_to_live(),
            purpose=st.sampled_from(Purpose),
            owner_id=st.none() | identifiers(),
            keep_available=quantities(0),
            not_after=st.none() | instants(),
        ),
        ExtendReservation: st.builds(ExtendReservation, **held, ttl=times_to_live()),
        ConfirmReservation: st.builds(ConfirmReservation, **held),
        ReleaseStock: st.builds(ReleaseStock, **held, quantity=some, reason=callers),
        CommitStock: st.builds(
            CommitStock, **held, quantity=some, remainder=st.sampled_from(Remainder), reason=st.sampled_from(CommitReason)
        ),
        AdjustStock: st.builds(AdjustStock, **named, delta=_signed(), reason=differences, shortfall=shortfalls),
        RecordCount: st.builds(RecordCount, **named, counted=quantities(0), observed_version=quantities(0), shortfall=shortfalls),
        ExpireReservations: st.builds(ExpireReservations, **named, limit=quantities()),
    }


def _by_event(where: st.SearchStrategy[InventoryId]) -> dict[type[Any], st.SearchStrategy[Any]]:
    held, maybe_instant, some = identifiers(), st.none() | instants(), quantities()
    figure = st.none() | quantities(0)
    fields: dict[type[Any], list[st.SearchStrategy[Any]]] = {
        StockAddedEvent: [some, st.sampled_from(AddReason)],
        StockReservedEvent: [some, held, st.sampled_from(Purpose), st.none() | identifiers(), maybe_instant],
        ReservationExtendedEvent: [held, instants(), maybe_instant],
        StockReleasedEvent: [some, held, quantities(0), st.sampled_from(ReleaseReason)],
        StockCommittedEvent: [some, held, quantities(0), st.sampled_from(CommitReason)],
        StockAdjustedEvent: [st.just(0) | _signed(), st.sampled_from(AdjustReason), figure, figure],
    }
    return {kind: st.builds(_event, st.just(kind), where, st.tuples(*own), quantities(0), quantities(0)) for kind, own in fields.items()}


def _event(kind: type[Any], where: InventoryId, own: tuple[Any, ...], one: int, other: int) -> Any:
    if kind is StockAdjustedEvent and own[0] == 0:  # only a count may leave the figure as it is
        own = (0, AdjustReason.COUNT, *own[2:])
    return kind(where.product_id, where.store_id, *own, max(one, other), min(one, other))


def _stream_id(category: str, parts: list[str]) -> StreamId:
    return StreamId(category, *parts)


def _signed() -> st.SearchStrategy[int]:
    return st.builds(int.__mul__, quantities(), st.sampled_from((1, -1)))


def _register() -> None:
    st.register_type_strategy(StockQuantity, quantities(0).map(StockQuantity))
    st.register_type_strategy(InventoryId, inventory_ids())
    st.register_type_strategy(ReservationRef, reservation_refs())
    st.register_type_strategy(StreamId, stream_ids())
    for kind, strategy in (_by_command(inventory_ids()) | _by_event(inventory_ids())).items():
        st.register_type_strategy(kind, strategy)


_register()


_NUMBERS = st.integers(0, 2**24 - 1)
_FAULTS: tuple[FaultKind, ...] = ("fail_before", "fail_after")
_STEPS = st.tuples(_NUMBERS, _NUMBERS, _NUMBERS)


def times_for(inventory: Inventory, clock: datetime) -> st.SearchStrategy[datetime]:
    """Draw the next time of the clock: the same, a little later, right around a time of expiry, long after, or earlier.

    Args:
        inventory: the state, whose open reservations have times of expiry.
        clock: the present time.
    """
    return _NUMBERS.map(lambda number: next_time(Choices(number), inventory, clock))


def commands_for(inventory: Inventory, at: datetime, *, name: str, earlier: Sequence[Command] = ()) -> st.SearchStrategy[Command]:
    """Draw commands that are valid in a state, or only just invalid.

    Args:
        inventory: the state.
        at: the time at which the commands will be sent.
        name: unique among the commands to this inventory, because ids are made of it.
        earlier: commands that were sent before, to be sent again, or to lend their ids to another payload.
    """

    def command(kind: int, fields: int) -> Command:
        return next_command(Choices(kind), Choices(fields), inventory, at, name=name, earlier=earlier)

    return st.builds(command, _NUMBERS, _NUMBERS)


def programs(
    *,
    inventory_id: InventoryId = SHELF,
    max_steps: int = 30,
    max_parallel: int = 0,
    policies: Sequence[Policy] = (),
) -> st.SearchStrategy[Program]:
    """Draw whole programs: a setup, steps that fit the state that they meet, parallel calls, failing appends, a seed.

    Args:
        inventory_id: the inventory.
        max_steps: the most steps, 1 or more.
        max_parallel: the most parallel calls, 0 or more.
        policies: the host's rules, under which the steps are drawn. An impure policy is found, also across examples.
    """
    return _programs(inventory_id, max_steps, max_parallel, ask_twice(policies))


@st.composite
def _programs(draw: st.DrawFn, inventory_id: InventoryId, max_steps: int, max_parallel: int, policies: Sequence[Policy]) -> Program:
    opening, rush = draw(st.sampled_from(OPENINGS)), draw(st.sampled_from(RUSHES))
    fewest = draw(st.sampled_from((1, max_steps // 2 + 1)))
    setup, steps, handler = generate(
        draw(st.lists(_STEPS, min_size=fewest, max_size=max_steps)),
        opening=opening,
        rush=rush,
        inventory_id=inventory_id,
        policies=policies,
    )
    clock = steps[-1].at
    if not max_parallel:
        return Program(inventory_id=inventory_id, setup=setup, steps=tuple(steps))
    at_once = [
        Call(next_command(Choices(kind), Choices(fields), handler.inventory, clock, name=f"p{number}"), clock)
        for number, (_, kind, fields) in enumerate(draw(st.lists(_STEPS, max_size=max_parallel)))
    ]
    faults = st.dictionaries(st.integers(1, 2 * max_parallel), st.sampled_from(_FAULTS), max_size=3)
    return Program(
        inventory_id=inventory_id,
        setup=setup,
        steps=tuple(steps),
        parallel=tuple(at_once),
        faults=tuple(sorted(draw(faults).items())),
        seed=draw(_NUMBERS),
    )


def histories(*, inventory_id: InventoryId = SHELF, max_steps: int = 30) -> st.SearchStrategy[tuple[Recorded, ...]]:
    """Draw valid histories of one inventory, made by running the decider on programs.

    Args:
        inventory_id: the inventory.
        max_steps: the most commands behind a history.
    """
    return programs(inventory_id=inventory_id, max_steps=max_steps).map(_history)


def _history(program: Program) -> tuple[Recorded, ...]:
    handler = ReferenceHandler(program.inventory_id)
    for call in program.calls:
        handler.execute(call.command, at=call.at)
    return tuple(handler.history)
