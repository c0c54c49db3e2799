"""Fingerprints: frozen vectors; what belongs to the payload changes them, what does not leaves them."""

from datetime import timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given

from inventory_es.domain.command_identity import fingerprint
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
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.reasons import AddReason, AdjustReason, CommitReason, Purpose, ReleaseReason, Remainder, Shortfall
from inventory_es.testing.domain.scenarios import START
from inventory_es.testing.domain.strategies import commands

WHERE = InventoryId("85123A", "berlin")
NAMED: dict[str, Any] = {"inventory_id": WHERE, "command_id": "c1"}
HELD: dict[str, Any] = {**NAMED, "reservation_id": "R1"}
RESERVE: dict[str, Any] = {"inventory_id": WHERE, "reservation_id": "R1", "quantity": 3}

FROZEN: list[tuple[Command, str]] = [
    (AddStock(**NAMED, quantity=10), "1:3898e123cc26ece451a00c42929d7c08"),
    (AddStock(**NAMED, quantity=10, reason=AddReason.OPENING), "1:df526ffdca66c0763bba7c00ab5b5267"),
    (ReserveStock(**RESERVE, ttl=timedelta(seconds=900)), "1:f5bf94a8ccd74f2ccb2a7c347695092c"),
    (
        ReserveStock(**RESERVE, ttl=None, purpose=Purpose.QUARANTINE, owner_id="o", keep_available=2),
        "1:27c8f497696d90a38f2ec4150583dfdf",
    ),
    (ExtendReservation(**HELD, ttl=timedelta(microseconds=1)), "1:bea7fa1a34a8937b62e23e1a3a851598"),
    (ConfirmReservation(**HELD), "1:018b4f8b1b43cfb1c3e3de872a0fb670"),
    (ReleaseStock(**HELD), "1:8f59bfb302650b5967882c5db6c3415a"),
    (ReleaseStock(**HELD, quantity=2, reason=ReleaseReason.COMPENSATION), "1:fa420a02d2f7a1d98326c44bbed2dc49"),
    (CommitStock(**HELD), "1:15bdbccc51b8a2821ab269e869072897"),
    (
        CommitStock(**HELD, quantity=2, remainder=Remainder.RELEASE, reason=CommitReason.SCRAPPED),
        "1:4c59b067fac2445829d58c64e2e0a1f5",
    ),
    (AdjustStock(**NAMED, delta=-2, reason=AdjustReason.DAMAGE), "1:af0e281c4feb5693876699d044b0411d"),
    (AdjustStock(**NAMED, delta=5, reason=AdjustReason.FOUND, shortfall=Shortfall.BUMP), "1:c2aedba6412f4f813f01c9776add8cc2"),
    (RecordCount(**NAMED, counted=0, observed_version=7), "1:15d05489ca84249d5adccd3f271f40c4"),
    (RecordCount(**NAMED, counted=4, observed_version=7, shortfall=Shortfall.BUMP), "1:7e676c3601e270f789a0474d9c41d009"),
    (ExpireReservations(**NAMED), "1:0f5915dc25f92dac4a57c733f298549c"),
    (ExpireReservations(**NAMED, limit=1), "1:8b2a9def8a8ad5df4a7276c59949d274"),
    (AddStock(inventory_id=InventoryId("é", "../x"), command_id="x", quantity=1), "1:ed325b652ebb6d950d477ab3c3bc5929"),
]
NAMES = [f"{type(command).__name__}-{text[2:6]}" for command, text in FROZEN]


@pytest.mark.parametrize("command, expected", FROZEN, ids=NAMES)
def test_vectors_are_frozen(command: Command, expected: str) -> None:
    """Stored events carry these: a change here turns every retry of an older command into a conflict."""
    assert fingerprint(command) == expected


def test_a_default_is_left_out_however_it_was_made() -> None:
    limit = int("500")
    assert fingerprint(ExpireReservations(**NAMED, limit=limit)) == fingerprint(ExpireReservations(**NAMED))


def test_the_vectors_cover_every_command() -> None:
    assert {type(command) for command, _ in FROZEN} == set(Command.__args__)


LEFT_OUT: dict[str, Any] = {"command_id": "another", "reference": "order:7", "not_after": START}


@given(commands())
def test_what_is_not_payload_leaves_it(command: Command) -> None:
    fields = {field.name for field in attrs.fields(type(command))}
    changes: dict[str, Any] = {name: value for name, value in LEFT_OUT.items() if name in fields}
    if isinstance(command, ReserveStock):
        changes["reservation_id"] = "another"
    other: Command = attrs.evolve(command, **changes)
    assert other != command or not changes
    assert fingerprint(other) == fingerprint(command)


@given(commands(), commands())
def test_what_is_payload_changes_it(one: Command, other: Command) -> None:
    def payload(command: Command) -> tuple[object, ...]:
        names = [field.name for field in attrs.fields(type(command)) if field.name not in LEFT_OUT]
        values = [getattr(command, name) for name in names if name != "reservation_id" or not isinstance(command, ReserveStock)]
        return (type(command), *values)

    assert (fingerprint(one) == fingerprint(other)) is (payload(one) == payload(other))


@pytest.mark.parametrize("command", [command for command, _ in FROZEN], ids=NAMES)
def test_each_field_of_the_payload_counts(command: Command) -> None:
    others: dict[str, Any] = {
        "inventory_id": InventoryId("85123A", "paris"),
        "reservation_id": "R2",
        "quantity": 99,
        "ttl": timedelta(days=3),
        "purpose": Purpose.INTERNAL,
        "owner_id": "somebody",
        "keep_available": 98,
        "remainder": Remainder.RELEASE if getattr(command, "remainder", None) is Remainder.KEEP else Remainder.KEEP,
        "delta": 97,
        "shortfall": Shortfall.BUMP if getattr(command, "shortfall", None) is Shortfall.REJECT else Shortfall.REJECT,
        "counted": 96,
        "observed_version": 95,
        "limit": 94,
    }
    reasons = {AddStock: AddReason.FOUND, ReleaseStock: ReleaseReason.COMPENSATION, CommitStock: CommitReason.CONSUMED}
    others["reason"] = reasons.get(type(command), AdjustReason.THEFT)
    if getattr(command, "reason", None) is others["reason"]:
        others["reason"] = ReleaseReason.CANCELLED
    for field in attrs.fields(type(command)):
        if field.name in LEFT_OUT or (isinstance(command, ReserveStock) and field.name == "reservation_id"):
            continue
        assert fingerprint(attrs.evolve(command, **{field.name: others[field.name]})) != fingerprint(command), field.name
