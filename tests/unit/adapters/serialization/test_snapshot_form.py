"""The stored form of a state: what was folded comes back, and nothing else does."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventory_es.adapters.serialization import JsonEventCodec, snapshot_form
from inventory_es.adapters.serialization.snapshot_form import _checksum
from inventory_es.domain.events import Recorded
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.quantity import MAX_QUANTITY
from inventory_es.domain.reasons import Ending, Purpose
from inventory_es.domain.reservation_book import CLOSED_KEPT, STATE_SCHEMA_VERSION, ClosedReservation, InventorySnapshot, OpenReservation
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import Snapshot, SnapshotCodec
from inventory_es.testing.domain.probe import behaviour
from inventory_es.testing.domain.scenarios import SHELF
from inventory_es.testing.domain.strategies import histories

CODEC = JsonEventCodec()
AT = datetime(2026, 1, 5, 9, 15, 0, 123456, tzinfo=UTC)
HOLD = OpenReservation("R1", 5, 3, 1, Purpose.ORDER, "customer-7", AT, AT + timedelta(minutes=5), 4)
FIRM = OpenReservation("R2", 2, 2, 0, Purpose.QUARANTINE, None, AT, None, 6)
CLOSED = (("R0", ClosedReservation(Ending.COMMITTED, 4, 1, AT)), ("r\u2028é", ClosedReservation(Ending.EXPIRED, 0, 2, None)))
STATE = InventorySnapshot(
    inventory_id=SHELF, version=9, on_hand=7, reserved=5, last_time=AT, last_count_version=3, open=(HOLD, FIRM), closed=CLOSED
)


def snapshot(data: bytes, *, version: int = 9, stream: StreamId = SHELF.stream) -> Snapshot:
    return Snapshot(stream=stream, schema_version=STATE_SCHEMA_VERSION, version=version, event_id=UUID(int=1), data=data)


def sealed(content: bytes) -> Snapshot:
    """Bytes whose checksum holds, whatever they are."""
    return snapshot(_checksum(SHELF.stream, content) + content)


def test_a_state_comes_back() -> None:
    assert isinstance(CODEC, SnapshotCodec)
    assert CODEC.decode_snapshot(snapshot(CODEC.encode_snapshot(STATE))) == STATE


@settings(max_examples=150)
@given(histories(max_steps=25), st.data())
def test_folding_on_from_the_bytes_of_any_cut_gives_the_same_state(history: tuple[Recorded, ...], data: st.DataObject) -> None:
    """P26, by way of the stored form."""
    cut = data.draw(st.integers(1, len(history)))
    state = Inventory.replay(SHELF, history[:cut]).snapshot()
    inventory = Inventory.from_snapshot(CODEC.decode_snapshot(snapshot(CODEC.encode_snapshot(state), version=cut)))
    for recorded in history[cut:]:
        inventory.apply(recorded)
    whole = Inventory.replay(SHELF, history)
    assert inventory == whole
    at = history[-1].recorded_at
    assert behaviour(inventory, at) == behaviour(whole, at)


def changed(**fields: Any) -> InventorySnapshot:
    return attrs.evolve(STATE, **fields)


def with_hold(**fields: Any) -> InventorySnapshot:
    return changed(open=(attrs.evolve(HOLD, **fields), FIRM))


def with_end(**fields: Any) -> InventorySnapshot:
    return changed(closed=(("R0", attrs.evolve(CLOSED[0][1], **fields)),))


def many_closed(count: int) -> tuple[tuple[str, ClosedReservation], ...]:
    return tuple((f"C{number}", CLOSED[0][1]) for number in range(count))


@pytest.mark.parametrize(
    "state, problem",
    [
        (changed(version=8), "another version"),
        (changed(last_count_version=10), "another version"),
        (with_hold(version=5, reservation_id="R9"), None),
        (changed(open=(HOLD, attrs.evolve(FIRM, version=10))), "another version"),
        (changed(open=(FIRM, HOLD)), "out of order"),
        (with_hold(version=6), "out of order"),
        (with_hold(version=0), "out of order"),
        (with_hold(reservation_id="R2"), "twice"),
        (with_hold(reservation_id="R0"), "twice"),
        (changed(closed=CLOSED * 2), "twice"),
        (changed(closed=many_closed(CLOSED_KEPT + 1)), "too many are closed"),
        (changed(closed=many_closed(CLOSED_KEPT)), None),
        (changed(last_time=AT.replace(tzinfo=None)), "not in UTC"),
        (with_hold(reserved_at=AT.astimezone(timezone(timedelta(hours=1)))), "not in UTC"),
        (with_hold(expires_at=AT.replace(tzinfo=None)), "not in UTC"),
        (with_end(expires_at=AT.replace(tzinfo=None)), "not in UTC"),
        (changed(reserved=4), "add up"),
        (changed(on_hand=4), "add up"),
        (changed(on_hand=5), None),
        (with_hold(remaining=0), "add up"),
        (with_hold(committed=-1), "add up"),
        (with_hold(original=3), "add up"),
        (with_hold(original=4), None),
        (with_hold(original=MAX_QUANTITY + 1), "add up"),
        (with_end(committed=-1), "no reservation has"),
        (with_end(committed=MAX_QUANTITY + 1), "no reservation has"),
        (with_end(released=-1), "no reservation has"),
        (with_end(released=MAX_QUANTITY + 1), "no reservation has"),
        (with_hold(reservation_id=""), "1 to 128 characters"),
        (with_hold(reservation_id="x" * 129), "1 to 128 characters"),
        (with_hold(owner_id="a\nb"), "control characters"),
        (with_hold(owner_id=None), None),
        (changed(closed=(("a\x00", CLOSED[0][1]),)), "control characters"),
        (changed(on_hand=MAX_QUANTITY + 1), "no state of this version"),
        (changed(last_count_version=-1), "no state of this version"),
    ],
)
def test_a_state_that_no_history_has_is_refused(state: InventorySnapshot, problem: str | None) -> None:
    stored = snapshot(CODEC.encode_snapshot(state))
    if problem is None:
        assert CODEC.decode_snapshot(stored) == state
        return
    with pytest.raises(ValueError, match=problem):
        CODEC.decode_snapshot(stored)


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"{}", b"[]", b"[9,7,5]", b"\xff", b'["\\ud800"]', b"[" * 100_000, b"[9e999,7,5]", b"[NaN]", b"[9,7,5,null,3,[],[]]"],
)
def test_hostile_bytes_are_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the reason is the parser's
        CODEC.decode_snapshot(sealed(content))


def test_an_element_too_many_is_refused() -> None:
    content = CODEC.encode_snapshot(STATE)[8:]
    with pytest.raises(ValueError, match="no state of this version"):
        CODEC.decode_snapshot(sealed(content[:-1] + b",1]"))


@settings(max_examples=300)
@given(st.data())
def test_damage_is_refused(data: st.DataObject) -> None:
    stored = bytearray(CODEC.encode_snapshot(STATE))
    if data.draw(st.booleans()):
        del stored[data.draw(st.integers(0, len(stored) - 1)) :]
    else:
        stored[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match="checksum"):
        CODEC.decode_snapshot(snapshot(bytes(stored)))


def test_a_snapshot_of_another_stream_is_refused() -> None:
    stored = CODEC.encode_snapshot(STATE)
    with pytest.raises(ValueError, match="checksum"):
        CODEC.decode_snapshot(snapshot(stored, stream=InventoryId("tea", "berlin").stream))


def test_what_is_too_long_is_neither_written_nor_read(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = CODEC.encode_snapshot(STATE)
    monkeypatch.setattr(snapshot_form, "MAX_SNAPSHOT_BYTES", len(stored) - 8)
    assert CODEC.encode_snapshot(STATE) == stored
    monkeypatch.setattr(snapshot_form, "MAX_SNAPSHOT_BYTES", len(stored) - 9)
    with pytest.raises(ValueError, match="more than the"):
        CODEC.encode_snapshot(STATE)
    with pytest.raises(ValueError, match="too long"):
        CODEC.decode_snapshot(snapshot(stored))


class Seal:
    seal: Callable[[str, dict[str, Any]], dict[str, Any]] = staticmethod(lambda _, data: data)
    open: Callable[[str, dict[str, Any]], dict[str, Any]] = staticmethod(lambda _, data: data)


def test_what_a_seal_hides_is_not_written_in_clear() -> None:
    with pytest.raises(ValueError, match="seal"):
        JsonEventCodec(seal=Seal()).encode_snapshot(STATE)
