"""Structured logs, of the standard library and of structlog."""

import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
import structlog

from inventory_es import InsufficientStockError, command_context, open_inventory
from inventory_es.telemetry import LOGS
from inventory_es.telemetry.logs import CommandLog, JsonFormatter

TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """The lines of the package's loggers, one JSON object each."""
    stream, logger = io.StringIO(), logging.getLogger("inventory_es")
    handler, before = logging.StreamHandler(stream), logger.level
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(before)


def lines(text: str) -> Sequence[Mapping[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def sell(*observers: object) -> None:
    async with open_inventory("memory:", observers=observers) as inventory:
        with command_context(correlation_id="order-7", traceparent=TRACE):
            await inventory.add_stock("espresso-é", "berlin", 3, command_id="delivery-1")
        with suppress(InsufficientStockError):
            await inventory.reserve("espresso-é", "berlin", 4, ttl=timedelta(hours=1), reservation_id="order-8")


def test_a_command_has_a_line_with_its_fields_in_order(backend: str, stream: io.StringIO) -> None:
    anyio.run(sell, CommandLog(), backend=backend)
    added, refused = lines(stream.getvalue())
    assert list(added) == [
        *("timestamp", "level", "event", "product_id", "store_id", "quantity", "command", "command_id", "outcome"),
        *("seconds", "version", "attempts", "correlation_id", "trace_id", "logger"),
    ]
    at = datetime.fromisoformat(added["timestamp"])
    assert added["timestamp"].endswith("Z")
    assert abs((datetime.now(UTC) - at).total_seconds()) < 60
    assert {key: added[key] for key in added if key not in {"timestamp", "seconds"}} == {
        "level": "info",
        "event": "command_finished",
        "product_id": "espresso-é",
        "store_id": "berlin",
        "quantity": 3,
        "command": "AddStock",
        "command_id": "delivery-1",
        "outcome": "accepted",
        "version": 1,
        "attempts": 1,
        "correlation_id": "order-7",
        "trace_id": "a" * 32,
        "logger": "inventory_es.commands",
    }
    assert (refused["outcome"], refused["error"], refused["quantity"]) == ("rejected", "insufficient_stock", 4)
    assert stream.getvalue().isascii()
    assert set(added) | set(refused) == {*LOGS["command_finished"].fields, "timestamp", "level", "event", "logger"}


def test_nothing_is_made_for_a_level_that_is_off(backend: str, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inventory_es.telemetry.logs._fields_of", None)  # a call would be logged as observer_failed
    logging.getLogger("inventory_es").setLevel(logging.WARNING)
    anyio.run(sell, CommandLog(), backend=backend)
    assert stream.getvalue() == ""


def test_structlog_gets_the_same_fields(backend: str) -> None:
    capture = structlog.testing.LogCapture()
    logger = structlog.wrap_logger(None, processors=[capture], wrapper_class=structlog.BoundLogger)
    anyio.run(sell, CommandLog(logger.bind(service="shop")), backend=backend)
    added, refused = capture.entries
    assert (added["event"], added["log_level"], added["service"]) == ("command_finished", "info", "shop")
    assert (added["product_id"], added["quantity"], refused["error"]) == ("espresso-é", 3, "insufficient_stock")


def test_structlog_renders_the_records_of_the_package(backend: str) -> None:
    stream, logger = io.StringIO(), logging.getLogger("inventory_es.commands")
    handler = logging.StreamHandler(stream)
    shared: list[Any] = [structlog.stdlib.add_log_level, structlog.stdlib.ExtraAdder(), structlog.processors.TimeStamper(fmt="iso")]
    render: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=render))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        anyio.run(sell, CommandLog(), backend=backend)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    added, _ = lines(stream.getvalue())
    assert (added["event"], added["level"], added["product_id"], added["quantity"]) == ("command_finished", "info", "espresso-é", 3)


def test_an_exception_and_a_value_without_a_json_form_are_texts(stream: io.StringIO) -> None:
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        logging.getLogger("inventory_es").exception("broken", extra={"when": datetime(2026, 1, 2, tzinfo=UTC)}, stack_info=True)
    (line,) = lines(stream.getvalue())
    assert (line["level"], line["event"], line["when"]) == ("error", "broken", "2026-01-02 00:00:00+00:00")
    assert line["exception"].endswith("ZeroDivisionError")
    assert line["stack"].startswith("Stack (most recent call last)")


def test_an_adapter_of_the_standard_library_keeps_its_fields_and_those_of_the_command(backend: str, stream: io.StringIO) -> None:
    inner = logging.LoggerAdapter(logging.getLogger("inventory_es.commands"), {"service": "shop", "region": "eu"})
    anyio.run(sell, CommandLog(logging.LoggerAdapter(inner, {"region": "us"})), backend=backend)
    assert [(line["service"], line["region"], line["product_id"]) for line in lines(stream.getvalue())] == [
        ("shop", "us", "espresso-é")
    ] * 2
