"""The corners of the domain by name, so that a test can check that a generator reaches them."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from inventory_es.domain.commands import CommitStock, ExpireReservations, ExtendReservation, ReleaseStock, ReserveStock
from inventory_es.domain.events import (
    ReservationExtendedEvent,
    StockAdjustedEvent,
    StockCommittedEvent,
    StockReleasedEvent,
    StockReservedEvent,
)
from inventory_es.domain.reasons import AdjustReason, ReleaseReason
from inventory_es.domain.reservation_book import OpenReservation
from inventory_es.testing.domain.reference_handler import Answer

FEATURES: Final = (
    "a bump in part",
    "a bump of a firm hold",
    "a bump of several holds",
    "a bump right after what was due",
    "a clock that runs backwards",
    "a clock that stands still",
    "a commit of all that remains",
    "a commit one microsecond before the end",
    "a commit right at the end, refused",
    "a confirmed hold outlives its time",
    "a count below the promises",
    "a count of an older version",
    "a count that finds what the books say",
    "a firm hold from the start",
    "a hold closed on the way of a command",
    "a partial commit",
    "a partial commit, then a bump",
    "a partial commit, then an expiry",
    "a partial release, then a commit",
    "a release of a closed hold",
    "a remainder released",
    "a reserve of all that is available",
    "a sweep that left some",
    "a sweep with nothing due",
    "an expiry one microsecond late",
    "an expiry right in time",
    "an extension",
    "an extension that changes nothing",
    "an overflow, refused",
    "several holds closed on the way",
    "the same command again",
)
"""The corners that :func:`features_of` reports, except refusals, which it reports by code (``refused: insufficient_stock``)."""

_TICK = timedelta(microseconds=1)


def features_of(answers: Sequence[Answer]) -> set[str]:
    """Return the corners that a run reached: names of ``FEATURES``, and ``refused: …`` with the code of each refusal.

    Args:
        answers: the answers of one inventory, in order.
    """
    confirmed: dict[str, datetime] = {}
    found: set[str] = set()
    for before, answer in zip((None, *answers), answers, strict=False):
        found.update(_of_clock(before, answer), _of_refusal(answer), _of_command(answer), _of_events(answer, confirmed))
    return found


def _of_clock(before: Answer | None, answer: Answer) -> Iterator[str]:
    if before is not None and answer.clock < before.clock:
        yield "a clock that runs backwards"
    if before is not None and answer.clock == before.clock and answer.appended and before.appended:
        yield "a clock that stands still"


def _of_refusal(answer: Answer) -> Iterator[str]:
    if answer.error is None:
        return
    yield f"refused: {answer.error.code}"
    if answer.error.code == "quantity_overflow":
        yield "an overflow, refused"
    hold = _held(answer)
    if isinstance(answer.command, CommitStock) and hold is not None and hold.expires_at == answer.at:
        yield "a commit right at the end, refused"


def _of_command(answer: Answer) -> Iterator[str]:
    command, hold = answer.command, _held(answer)
    if answer.replayed:
        yield "the same command again"
    if answer.error is not None or answer.replayed:
        return
    match command:
        case ReserveStock() if answer.after.on_hand == answer.after.reserved:
            yield "a reserve of all that is available"
        case CommitStock() if hold is not None:
            if hold.expires_at == answer.at + _TICK:
                yield "a commit one microsecond before the end"
            if command.quantity == hold.remaining:
                yield "a commit of all that remains"
        case ReleaseStock() if hold is None:
            yield "a release of a closed hold"
        case ExtendReservation() if not answer.events:
            yield "an extension that changes nothing"
        case ExpireReservations():
            if not answer.events:
                yield "a sweep with nothing due"
            elif any(hold.is_due(answer.at) for hold in answer.after.open):
                yield "a sweep that left some"
        case _:
            pass


def _of_events(answer: Answer, confirmed: dict[str, datetime]) -> Iterator[str]:
    held = {hold.reservation_id: hold for hold in answer.before.open}
    expired = bumped = 0
    for event in () if answer.replayed else answer.events:
        match event:
            case StockReservedEvent(expires_at=None):
                yield "a firm hold from the start"
            case ReservationExtendedEvent():
                yield "an extension"
                if event.expires_at is None:
                    confirmed[event.reservation_id] = event.previous_expires_at
            case StockCommittedEvent():
                hold = held[event.reservation_id]
                if event.remaining:
                    yield "a partial commit"
                if hold.released:
                    yield "a partial release, then a commit"
                if event.reservation_id in confirmed and answer.at >= confirmed[event.reservation_id]:
                    yield "a confirmed hold outlives its time"
            case StockReleasedEvent(reason=ReleaseReason.REMAINDER):
                yield "a remainder released"
            case StockReleasedEvent(reason=ReleaseReason.SHORTFALL):
                bumped += 1
                yield from _of_bump(held[event.reservation_id], event)
            case StockReleasedEvent(reason=ReleaseReason.EXPIRED):
                expired += 1
                yield from _of_expiry(held[event.reservation_id], answer.at)
            case StockAdjustedEvent(reason=AdjustReason.COUNT, counted=int(counted)):
                if event.delta == 0:
                    yield "a count that finds what the books say"
                if event.observed_version != answer.before.version:
                    yield "a count of an older version"
                if counted < answer.before.reserved:
                    yield "a count below the promises"
            case _:
                pass
    on_the_way = 0 if isinstance(answer.command, ExpireReservations) else expired
    yield from ["a hold closed on the way of a command"] * min(on_the_way, 1)
    yield from ["several holds closed on the way"] * (on_the_way > 1)
    yield from ["a bump of several holds"] * (bumped > 1)
    yield from ["a bump right after what was due"] * (bumped > 0 and expired > 0)


def _of_bump(hold: OpenReservation, event: StockReleasedEvent) -> Iterator[str]:
    if event.remaining:
        yield "a bump in part"
    if hold.is_firm:
        yield "a bump of a firm hold"
    if hold.committed:
        yield "a partial commit, then a bump"


def _of_expiry(hold: OpenReservation, at: datetime) -> Iterator[str]:
    if hold.committed:
        yield "a partial commit, then an expiry"
    if hold.expires_at == at:
        yield "an expiry right in time"
    if hold.expires_at == at - _TICK:
        yield "an expiry one microsecond late"


def _held(answer: Answer) -> OpenReservation | None:
    reservation_id = getattr(answer.command, "reservation_id", None)
    return next((hold for hold in answer.before.open if hold.reservation_id == reservation_id), None)
