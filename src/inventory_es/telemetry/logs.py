"""Structured logs: one JSON object per line, and one line per command on request."""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from inventory_es.application.observers import CommandFinished

__all__ = ["CommandLog", "JsonFormatter"]

_OF_A_RECORD = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"))
_FIRST = ("product_id", "store_id", "quantity")


class JsonFormatter(logging.Formatter):
    """A formatter of the standard library: ``timestamp``, ``level``, ``event``, then the fields of the record, as one JSON object.

    ``timestamp`` is UTC with milliseconds. ``logger`` is the last field but for ``exception`` and ``stack``, where there are any. A value
    without a JSON form is written as its text.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        fields = {key: value for key, value in vars(record).items() if key not in _OF_A_RECORD}
        first = {key: fields.pop(key) for key in _FIRST if key in fields}
        line = {"timestamp": at, "level": record.levelname.lower(), "event": record.getMessage(), **first, **fields, "logger": record.name}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line, default=str)


class StructuredLogger(Protocol):
    """A logger with fields as keywords, as structlog has it."""

    def info(self, event: str, /, **fields: Any) -> object:
        """Log an event."""


class CommandLog:
    """An observer that logs each command at INFO, as ``command_finished``.

    Args:
        logger: of the standard library, or one of structlog; ``inventory_es.commands`` of the standard library by default. Of a
            ``LoggerAdapter``, its logger and its fields are used.
    """

    def __init__(self, logger: "logging.Logger | logging.LoggerAdapter[Any] | StructuredLogger | None" = None) -> None:
        self._bound: Mapping[str, Any] = {}
        while isinstance(logger, logging.LoggerAdapter):  # its own method would drop the fields of the command
            self._bound, logger = {**(logger.extra or {}), **self._bound}, logger.logger
        self._logger = logging.getLogger("inventory_es.commands") if logger is None else logger

    def command_finished(self, record: CommandFinished) -> None:
        """Log a command."""
        if not isinstance(self._logger, logging.Logger):
            self._logger.info("command_finished", **_fields_of(record))
        elif self._logger.isEnabledFor(logging.INFO):
            self._logger.info("command_finished", extra={**self._bound, **_fields_of(record)})


def _fields_of(record: CommandFinished) -> Mapping[str, Any]:
    """Return the fields of a command's line; those without a value are left out."""
    product_id, store_id = record.stream.parts
    context = record.context
    fields = {
        "product_id": product_id,
        "store_id": store_id,
        "quantity": record.quantity,
        "command": record.command,
        "command_id": record.command_id,
        "outcome": record.outcome,
        "error": record.error,
        "seconds": round(record.seconds, 6),
        "version": record.version,
        "attempts": record.attempts,
        "correlation_id": context.correlation_id,
        "trace_id": None if context.traceparent is None else context.traceparent.split("-")[1],
    }
    return {key: value for key, value in fields.items() if value is not None}
