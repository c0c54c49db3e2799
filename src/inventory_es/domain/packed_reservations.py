"""Open reservations of one inventory beyond the first tens of thousands, packed into bytes.

An open reservation as an object, with its owner's text and its two instants, takes some 330 bytes; packed it takes about 110.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from struct import Struct

from inventory_es.domain.reasons import Purpose
from inventory_es.domain.reservation import OpenReservation

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRM = -(1 << 63)
_FIELDS = Struct("<qqqqqqbb")
_EXPIRES_AT = Struct("<32xq")
_PURPOSES = tuple(Purpose)
_PURPOSE_NUMBERS = {purpose: number for number, purpose in enumerate(_PURPOSES)}


class PackedReservations:
    """Open reservations by id, in no particular order; each is made anew when it is asked for."""

    __slots__ = ("_packed",)

    def __init__(self) -> None:
        self._packed: dict[str, bytes] = {}

    def get(self, reservation_id: str) -> OpenReservation | None:
        """Return the reservation of this id, or ``None``."""
        packed = self._packed.get(reservation_id)
        return None if packed is None else _unpack(reservation_id, packed)

    def is_due_from(self, reservation_id: str, instant: datetime) -> bool:
        """Return whether the reservation of this id is here, and due from ``instant`` on."""
        packed = self._packed.get(reservation_id)
        return packed is not None and _instant(_EXPIRES_AT.unpack_from(packed)[0]) == instant

    def put(self, hold: OpenReservation) -> None:
        """Add ``hold``, or replace the one of its id."""
        self._packed[hold.reservation_id] = _pack(hold)

    def discard(self, reservation_id: str) -> None:
        """Drop the reservation of this id, if it is here."""
        self._packed.pop(reservation_id, None)

    def __contains__(self, reservation_id: object) -> bool:
        return reservation_id in self._packed

    def __len__(self) -> int:
        return len(self._packed)

    def __iter__(self) -> Iterator[OpenReservation]:
        return (_unpack(reservation_id, packed) for reservation_id, packed in self._packed.items())


def _pack(hold: OpenReservation) -> bytes:
    owner = hold.owner_id
    return _FIELDS.pack(
        hold.original,
        hold.remaining,
        hold.committed,
        (hold.reserved_at - _EPOCH) // _MICROSECOND,
        _FIRM if hold.expires_at is None else (hold.expires_at - _EPOCH) // _MICROSECOND,
        hold.version,
        _PURPOSE_NUMBERS[hold.purpose],
        owner is not None,
    ) + ("" if owner is None else owner).encode("utf-8", "surrogatepass")


def _unpack(reservation_id: str, packed: bytes) -> OpenReservation:
    original, remaining, committed, reserved_at, expires_at, version, purpose, has_owner = _FIELDS.unpack_from(packed)
    return OpenReservation(
        reservation_id,
        original,
        remaining,
        committed,
        _PURPOSES[purpose],
        packed[_FIELDS.size :].decode("utf-8", "surrogatepass") if has_owner else None,
        _EPOCH + timedelta(microseconds=reserved_at),
        _instant(expires_at),
        version,
    )


def _instant(microseconds: int) -> datetime | None:
    return None if microseconds == _FIRM else _EPOCH + timedelta(microseconds=microseconds)
