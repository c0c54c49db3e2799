"""Types of arguments, and options that several commands share."""

import os
import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from functools import wraps
from importlib import import_module
from typing import Any, Protocol, TypeVar, cast

import click

from inventory_es.adapters.system import SystemClock
from inventory_es.cli.reading import SERVERS
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.toolkit.delivery_rules import check_group
from inventory_es.ports.toolkit.paths import absolute_path
from inventory_es.wiring import bus_opener, open_inventory

F = TypeVar("F", bound=Callable[..., Any])


class Option(Protocol):
    """A decorator that adds an option to a command."""

    def __call__(self, function: F, /) -> F:
        """Return the command with the option."""
        ...


_TIME = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d(:\d\d(:\d\d([.,]\d+)?)?)?([Zz]|[+-]\d\d(:?\d\d)?)?)?", re.ASCII)
_MOST_DIGITS = 15


class _Time(click.ParamType[datetime]):
    """A time in ISO 8601, as ``--json`` prints it. Without an offset it is UTC; a date alone is its first instant."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        text = value.upper().replace(",", ".") if _TIME.fullmatch(value) else ""
        try:
            time = datetime.fromisoformat(text)
            return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        except (ValueError, OverflowError):  # also a day that no month has, or an instant before the year 1
            self.fail(f"{value!r} is no time: write 2010-12-01T17:00:00 (UTC), 2010-12-01T18:00:00+01:00 or 2010-12-01", param, ctx)


class _Moment(_Time):
    """A time, or the version of a stream."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS:
            return int(value)
        return super().convert(value, param, ctx)


class _StoreUrl(click.ParamType[str]):
    """The URL of a store, checked before the store is opened."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            open_inventory(value)
        except (ValueError, TypeError, ModuleNotFoundError) as problem:
            self.fail(str(problem), param, ctx)
        return str(value)


class _BusUrl(click.ParamType[str]):
    """The URL of an event bus that outlives the command, checked before the bus is opened."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            bus_opener(value, SystemClock())
        except (ValueError, TypeError, ModuleNotFoundError) as problem:
            self.fail(str(problem), param, ctx)
        if value.partition(":")[0] == "memory":
            self.fail("a bus in memory ends with the command: write file:DIR, redis://HOST:6379/0 or nats://HOST:4222", param, ctx)
        return str(value)


class _GroupName(click.ParamType[str]):
    """The name of a group of consumers."""

    name = "group"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            check_group(str(value))
        except ValueError as problem:
            self.fail(str(problem), param, ctx)
        return str(value)


class _Span(click.ParamType[timedelta]):
    """A time span: a whole number of days, hours, minutes or seconds, such as ``3650d``."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        number, unit = value[:-1], value[-1:]
        if not (number.isascii() and number.isdigit() and len(number) <= _MOST_DIGITS and int(number) and unit in _UNITS):
            self.fail(f"{value!r} is no span: write 3650d, 12h, 90m or 45s", param, ctx)
        try:
            return timedelta(seconds=int(number) * _UNITS[unit])
        except OverflowError:
            self.fail(f"{value!r} is longer than the calendar", param, ctx)


_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


class FilePath(click.Path):
    """A path. A ``~`` that the shell did not expand, as in ``--out=~/stock.png``, is the home folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path with ``~`` expanded.

        Raises:
            click.BadParameter: the path is invalid, or is of another kind.
        """
        try:
            place = absolute_path(value)
        except ValueError as problem:
            self.fail(str(problem), param, ctx)
        return super().convert(place if os.fsdecode(value).startswith("~") else value, param, ctx)


class _UrlOf(_StoreUrl):
    """The URL of a store of some schemes.

    Args:
        schemes: the schemes.
        others: tells what to use for stores of other schemes.
    """

    def __init__(self, schemes: Collection[str], others: str) -> None:
        self._schemes = schemes
        self._others = others

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        url = super().convert(value, param, ctx)
        if url.partition(":")[0] not in self._schemes:
            self.fail(self._others, param, ctx)
        return url


TIME, MOMENT, STORE_URL, BUS_URL, GROUP_NAME, SPAN = _Time(), _Moment(), _StoreUrl(), _BusUrl(), _GroupName(), _Span()
STORED_URL = _UrlOf(
    {"file", "sqlite"},
    "this command is for a store in a folder or in a SQLite file: file:DIR or sqlite:FILE. A PostgreSQL database is backed up by its own "
    "tools, pg_basebackup or pg_dump; 'inventory-es copy' copies the events",
)
LASTING_URL = _UrlOf(
    {"file", "sqlite", *SERVERS},
    "this command is for a store in a folder, in a SQLite file or in PostgreSQL: file:DIR, sqlite:FILE or postgresql://USER@HOST/DATABASE",
)
SERVER_URL = _UrlOf(
    SERVERS,
    "this command is for a store in PostgreSQL: postgresql://USER@HOST/DATABASE. 'inventory-es verify' is for a folder or a SQLite file",
)

url_option: Option = click.option(
    "--url", type=STORE_URL, required=True, envvar="INVENTORY_ES_URL", show_envvar=True, help="URL of the store, such as file:stock."
)
stored_option: Option = click.option(
    "--url", type=STORED_URL, required=True, envvar="INVENTORY_ES_URL", show_envvar=True, help="URL of the store, such as file:stock."
)
lasting_option: Option = click.option(
    "--url", type=LASTING_URL, required=True, envvar="INVENTORY_ES_URL", show_envvar=True, help="URL of the store, such as file:stock."
)
read_model_option: Option = click.option(
    "--read-model", metavar="FILE", type=FilePath(dir_okay=False), required=True, help="SQLite file with the rows of projections."
)
bus_option: Option = click.option(
    "--bus", type=BUS_URL, required=True, envvar="INVENTORY_ES_BUS", show_envvar=True, help="URL of the bus, such as nats://HOST:4222."
)
json_option: Option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs instead of text for people.")


def adapter_of(url: str) -> tuple[Any, str]:
    """Return the adapter of a ``STORED_URL``, with its ``verify``, ``repair`` and ``back_up``, and the path of the store."""
    scheme, _, place = url.partition(":")
    return import_module(f"inventory_es.adapters.{scheme}"), place


def inventory_arguments(function: F) -> F:
    """Add the arguments PRODUCT and STORE."""
    return click.argument("product", metavar="PRODUCT")(click.argument("store", metavar="STORE")(function))


def source_options(function: F) -> F:
    """Add the options ``--url`` and ``--read-model``, and pass one of them as the argument ``source``."""
    from inventory_es.cli.rows import Source  # noqa: PLC0415  # only for the commands that read rows

    @wraps(function)
    def with_source(*args: Any, url: str | None, read_model: str | None, **others: Any) -> Any:
        if read_model is None and url is None:
            msg = "give --url to ask the streams, or --read-model to ask the rows of projections"
            raise click.UsageError(msg)
        source = Source(read_model, is_read_model=True) if read_model is not None else Source(str(url), is_read_model=False)
        return function(*args, source=source, **others)

    url = click.option(
        "--url", type=STORE_URL, envvar="INVENTORY_ES_URL", show_envvar=True, help="Read the streams of this store, such as file:stock."
    )
    rows = click.option(
        "--read-model", metavar="FILE", type=FilePath(dir_okay=False), help="Read the rows of projections in this SQLite file."
    )
    return cast("F", url(rows(with_source)))


class _ProjectionName(click.ParamType[str]):
    """The name of a shipped projection."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from inventory_es.cli.rows import SHIPPED  # noqa: PLC0415  # the same

        if value not in SHIPPED:
            self.fail(f"there is no projection {value!r}; there are {', '.join(SHIPPED)}", param, ctx)
        return str(value)


class _StreamName(click.ParamType[StreamId]):
    """A stream id as text."""

    name = "stream"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> StreamId:
        try:
            return StreamId.parse(value)
        except ValueError as problem:
            self.fail(f"{value!r} is {problem}", param, ctx)


PROJECTION_NAME, STREAM_NAME = _ProjectionName(), _StreamName()


def names_argument(function: F) -> F:
    """Add the argument NAME, any number of times; none means all."""
    return click.argument("names", metavar="[NAME]...", nargs=-1, type=PROJECTION_NAME)(function)
