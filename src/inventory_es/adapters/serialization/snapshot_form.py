"""The stored form of an inventory's state: a checksum, then JSON.

msgspec reads the JSON straight into the classes of the domain. The form may change: a state of another schema version is folded again from
its events.
"""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Annotated, NoReturn
from zlib import crc32

import msgspec

from inventory_es.adapters.serialization.strict_json import PayloadError, write_json
from inventory_es.domain.identifiers import InventoryId, identifier
from inventory_es.domain.quantity import MAX_QUANTITY
from inventory_es.domain.reservation_book import CLOSED_KEPT, ClosedReservation, InventorySnapshot, OpenReservation
from inventory_es.domain.stream_id import MAX_PART_LENGTH, StreamId
from inventory_es.ports.snapshot_store import Snapshot

MAX_SNAPSHOT_BYTES = 64 << 20
"""The most bytes that are written or parsed: about 300,000 open reservations."""

_CHECKSUM = 8
_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_QUANTITY)]


class _State(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    version: _Count
    on_hand: _Count
    reserved: _Count
    last_time: datetime
    last_count_version: _Count
    open: tuple[OpenReservation, ...]
    closed: tuple[tuple[str, ClosedReservation], ...]


_decode = msgspec.json.Decoder(_State).decode


def write_snapshot(state: InventorySnapshot) -> bytes:
    """Return the bytes of a state.

    Raises:
        PayloadError: the state would have too many bytes.
    """
    balance = state.version, state.on_hand, state.reserved, state.last_time, state.last_count_version
    data = write_json((*balance, state.open, state.closed))
    if len(data) > MAX_SNAPSHOT_BYTES:
        _refuse(f"the state has {len(data):,} bytes, more than the {MAX_SNAPSHOT_BYTES:,} of a snapshot")
    return _checksum(state.inventory_id.stream, data) + data


def read_snapshot(snapshot: Snapshot) -> InventorySnapshot:
    """Return the state in a snapshot, whole and consistent.

    Raises:
        PayloadError: the bytes were changed, are of another stream or version, or hold a state that no history has.
        InvalidIdentifierError: the state has an invalid identifier.
    """
    head, data = snapshot.data[:_CHECKSUM], snapshot.data[_CHECKSUM:]
    if len(data) > MAX_SNAPSHOT_BYTES or head != _checksum(snapshot.stream, data):
        _refuse("it is torn, too long, or of another stream: its checksum does not hold")
    try:
        state = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        _refuse("it is no state of this version of the package")
    _check(state, snapshot.version)
    return InventorySnapshot(
        inventory_id=InventoryId.from_stream(snapshot.stream),
        version=state.version,
        on_hand=state.on_hand,
        reserved=state.reserved,
        last_time=state.last_time,
        last_count_version=state.last_count_version,
        open=state.open,
        closed=state.closed,
    )


def _checksum(stream: StreamId, data: bytes) -> bytes:
    return b"%08x" % crc32(data, crc32(stream.text.encode()))


def _check(state: _State, version: int) -> None:
    """Refuse a state that no history can have."""
    ids = [hold.reservation_id for hold in state.open] + [reservation_id for reservation_id, _ in state.closed]
    names = ids + [hold.owner_id for hold in state.open if hold.owner_id is not None]
    if not all(map(str.isprintable, names)) or not all(names) or max(map(len, names), default=0) > MAX_PART_LENGTH:
        for name in names:
            identifier("reservation or owner", name)
    versions = [0, *(hold.version for hold in state.open)]
    if state.version != version or max(state.last_count_version, versions[-1]) > version:
        _refuse("it is of another version")
    if len(set(ids)) < len(ids) or len(state.closed) > CLOSED_KEPT or any(a >= b for a, b in pairwise(versions)):
        _refuse("a reservation stands twice or out of order, or too many are closed")
    instants = [state.last_time, *(hold.reserved_at for hold in state.open), *(hold.expires_at for hold in state.open)]
    instants += [end.expires_at for _, end in state.closed]
    if {instant.tzinfo for instant in instants if instant is not None} != {UTC}:
        _refuse("an instant is not in UTC")
    if not all(_adds_up(hold) for hold in state.open) or not sum(hold.remaining for hold in state.open) == state.reserved <= state.on_hand:
        _refuse("what is open does not add up to the balance")
    units = [end.committed for _, end in state.closed] + [end.released for _, end in state.closed]
    if units and not 0 <= min(units) <= max(units) <= MAX_QUANTITY:
        _refuse("what is closed has quantities that no reservation has")


def _adds_up(hold: OpenReservation) -> bool:
    return hold.remaining >= 1 and hold.committed >= 0 and hold.remaining + hold.committed <= hold.original <= MAX_QUANTITY


def _refuse(problem: str) -> NoReturn:
    raise PayloadError(problem)
