"""Whatever was ever written stays readable: the frozen events, one file per type, schema version and variant, never edited."""

import hashlib
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import attrs
import pytest

from inventory_es.adapters.serialization import JsonEventCodec, default_registry, domain_form
from inventory_es.domain.events import EVENT_TYPES, StockReservedEvent
from inventory_es.domain.reasons import AddReason, AdjustReason, CommitReason, Purpose, ReleaseReason
from tests.unit.adapters.serialization.recording import STORED_EVENTS, frozen

FILES = sorted(STORED_EVENTS.glob("*.json"))
CODEC = JsonEventCodec()


def name(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", FILES, ids=name)
def test_it_is_read_and_written_back_byte_for_byte(path: Path) -> None:
    stored = frozen(path)
    event = CODEC.decode(stored)
    assert type(event).__name__ == stored.event_type
    assert CODEC.encode(event) == (stored.event_type, stored.schema_version, stored.data)
    assert CODEC.encode_metadata(CODEC.decode_metadata(stored)) == stored.metadata


def test_it_means_what_it_meant() -> None:
    assert CODEC.decode(frozen(STORED_EVENTS / "StockReservedEvent.v1.dated.json")) == StockReservedEvent(
        product_id="85123A",
        store_id="berlin",
        quantity=3,
        reservation_id="R1",
        purpose=Purpose.ORDER,
        owner_id=None,
        expires_at=datetime(2026, 1, 5, 9, 15, tzinfo=UTC),
        on_hand=100,
        reserved=3,
    )


def test_every_version_that_can_be_read_has_a_file() -> None:
    readable = {f"{kind.event_type}.v{version}" for kind in default_registry().kinds for version in (*kind.upcasters, kind.schema_version)}
    assert readable == {path.name.rpartition(".v")[0] + ".v" + path.name.rpartition(".v")[2].partition(".")[0] for path in FILES}


@pytest.mark.parametrize(
    "kind, reasons",
    [
        ("StockAddedEvent", AddReason),
        ("StockReservedEvent", Purpose),
        ("StockReleasedEvent", ReleaseReason),
        ("StockCommittedEvent", CommitReason),
        ("StockAdjustedEvent", AdjustReason),
    ],
)
def test_every_reason_that_can_be_written_has_a_file(kind: str, reasons: type[StrEnum]) -> None:
    events = [CODEC.decode(frozen(path)) for path in FILES if path.name.startswith(f"{kind}.")]
    assert {event.purpose if isinstance(event, StockReservedEvent) else event.reason for event in events} == set(reasons)


def test_fields_stand_in_order_of_declaration() -> None:
    for kind in EVENT_TYPES:
        for path in STORED_EVENTS.glob(f"{kind.__name__}.*"):
            data = frozen(path).data.decode()
            places = [data.index(f'"{field.name}":') for field in attrs.fields(kind)]
            assert places == sorted(places), path.name


@pytest.mark.parametrize("path", [path for path in FILES if "odd" not in path.name], ids=name)
def test_one_pass_reads_what_we_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any) -> None:
        pytest.fail("the strict parser was called for a payload of ours")

    monkeypatch.setattr(domain_form, "read_object", refuse)
    assert JsonEventCodec().decode(frozen(path)) is not None


def test_no_file_was_edited() -> None:
    sums = (STORED_EVENTS / "SHA256SUMS").read_text(encoding="ascii").splitlines()
    frozen_files = {line.split("  ")[1]: line.split("  ")[0] for line in sums}
    files = [*FILES, *(STORED_EVENTS / "host").glob("*.json")]
    now = {path.relative_to(STORED_EVENTS).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert now == frozen_files
