"""What is written, and that it can be read back."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import pytest

from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.domain.events import StockAddedEvent, StockReservedEvent
from inventory_es.domain.reasons import AddReason, Purpose
from inventory_es.domain.stream_id import StreamId
from tests.unit.adapters.serialization.recording import RESERVED, recorded

CODEC = JsonEventCodec()
HOLD = StockReservedEvent("85123A", "berlin", 3, "R1", Purpose.ORDER, None, datetime(2026, 1, 5, 9, 15, tzinfo=UTC), 100, 3)


class FrozenClockDatetime(datetime):
    """What libraries that stop the clock put in place of a datetime."""


def test_one_event_has_one_form() -> None:
    assert CODEC.encode(HOLD) == ("StockReservedEvent", 1, RESERVED)


@pytest.mark.parametrize(
    "instant, text",
    [
        (datetime(2026, 1, 5, 9, 15, 0, 120_000, tzinfo=UTC), b"2026-01-05T09:15:00.120000Z"),
        (datetime(2026, 1, 5, 9, 15, tzinfo=timezone(timedelta(0), "nowhere")), b"2026-01-05T09:15:00.000000Z"),
        (datetime(2026, 1, 5, 9, 15, 0, 7, tzinfo=ZoneInfo("Europe/London")), b"2026-01-05T09:15:00.000007Z"),
        (datetime(1, 1, 1, tzinfo=UTC), b"0001-01-01T00:00:00.000000Z"),
        (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), b"9999-12-31T23:59:59.999999Z"),
        (FrozenClockDatetime(2026, 1, 5, 9, 15, tzinfo=UTC), b"2026-01-05T09:15:00.000000Z"),
        (FrozenClockDatetime(26, 1, 5, 9, 15, 0, 1, tzinfo=UTC), b"0026-01-05T09:15:00.000001Z"),
    ],
)
def test_an_instant_has_six_digits_of_a_second(instant: datetime, text: bytes) -> None:
    event = attrs.evolve(HOLD, expires_at=instant)
    data = CODEC.encode(event).data
    assert data == RESERVED.replace(b"2026-01-05T09:15:00.000000Z", text)
    assert CODEC.decode(recorded(data)) == event


def test_the_form_does_not_depend_on_the_process() -> None:
    script = """
from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.events import StockAddedEvent
from inventory_es.domain.reasons import AddReason
print(JsonEventCodec().encode(StockAddedEvent("p", "s", 1, AddReason.FOUND, 1, 0)).data.decode())
"""
    forms = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert forms == {'{"product_id":"p","store_id":"s","quantity":1,"reason":"FOUND","on_hand":1,"reserved":0}'}


@pytest.mark.parametrize("text", ["x" * 128, "🛒" * 128, '"' * 128, "\\" * 128, " ", "\u00a0", "{[", "é", "e\u0301", "\ufeff", "\u2028"])
def test_every_legal_identifier_comes_back(text: str) -> None:
    event = attrs.evolve(HOLD, product_id=text, store_id=text, reservation_id=text, owner_id=text)
    assert CODEC.decode(recorded(CODEC.encode(event).data, stream=StreamId("inventory", text, text))) == event


@pytest.mark.parametrize("name", ["product_id", "store_id", "reservation_id", "owner_id"])
@pytest.mark.parametrize("value", ["", "x" * 129, "a\nb", "\x7f", "\ud800", 7, b"R1"])
def test_an_identifier_that_could_not_be_read_is_not_written(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"StockReservedEvent can't be encoded: {name} must"):
        CODEC.encode(attrs.evolve(HOLD, **{name: value}))


@pytest.mark.parametrize("reason", ["RECEIVED", "BOGUS", None, Purpose.ORDER])
def test_a_reason_is_one_of_the_list(reason: Any) -> None:
    with pytest.raises(ValueError, match="reason must be a member of AddReason"):
        CODEC.encode(StockAddedEvent("p", "s", 1, reason, 1, 0))


@pytest.mark.parametrize("event", [object(), "a text", None, StockAddedEvent])
def test_what_is_not_registered_is_not_written(event: object) -> None:
    with pytest.raises(ValueError, match="is no registered event type: add it"):
        CODEC.encode(event)


def test_a_subclass_is_not_what_it_extends() -> None:
    @attrs.frozen
    class Relabelled(StockAddedEvent):
        pass

    with pytest.raises(ValueError, match="no registered event type"):
        CODEC.encode(Relabelled("p", "s", 1, AddReason.FOUND, 1, 0))
