"""``open_inventory``: the assembled service, over a store and a read model by URL or as objects."""

import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from inspect import iscoroutinefunction
from typing import TypeVar, cast

from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.adapters.system import SystemClock, Uuid7Generator, chance
from inventory_es.application.commands.handler_settings import HandlerSettings
from inventory_es.application.engine import EngineParts
from inventory_es.application.following.projection import Projection
from inventory_es.application.guards import CircuitBreaker, guarded
from inventory_es.application.observers import Observers
from inventory_es.application.service import InventoryService
from inventory_es.domain.errors import HostFunctionError, name_of_function
from inventory_es.domain.inventory import Policy
from inventory_es.ports import Cache, Clock, EventBus, EventStore, IdGenerator, ReadModel, SnapshotStore
from inventory_es.ports.codec import EventCodec
from inventory_es.ports.toolkit.paths import absolute_path
from inventory_es.ports.toolkit.urls import masked, name_of

T = TypeVar("T")

ENTRY_POINT_GROUP = "inventory_es.event_stores"
"""Entry points of other packages: ``scheme = "module:function"``, where the function is ``async (place: str) -> EventStore``."""


# Import statements, so that tools that freeze an application find these modules; inside, so that one adapter's needs bind no other.
async def _open_memory(place: str) -> EventStore:
    from inventory_es.adapters.memory import open_memory  # noqa: PLC0415  # see above

    return await open_memory(place)


async def _open_file(place: str) -> EventStore:
    from inventory_es.adapters.file import open_file  # noqa: PLC0415  # see above

    return await open_file(place)


async def _open_sqlite(place: str) -> EventStore:
    from inventory_es.adapters.sqlite import open_sqlite  # noqa: PLC0415  # see above

    return await open_sqlite(place)


_BUILT_IN: Mapping[str, Callable[[str], Awaitable[EventStore]]] = {"file": _open_file, "memory": _open_memory, "sqlite": _open_sqlite}
"""The shipped schemes. They need no metadata of an installed package, and no other package can replace them."""


def _postgresql_opener(url: str) -> Callable[[], Awaitable[EventStore]]:
    from inventory_es.adapters.postgresql import open_postgresql, parse_place  # noqa: PLC0415  # see above

    parse_place(url)
    return lambda: open_postgresql(url)  # a partial would show the password in the text of the parts


_SERVERS: Mapping[str, Callable[[str], Callable[[], Awaitable[EventStore]]]] = {
    "postgres": _postgresql_opener,
    "postgresql": _postgresql_opener,
}
"""The shipped schemes whose URL names a server. Each function checks the URL, and returns what opens the store."""


async def _open_memory_rows(place: str) -> ReadModel:
    from inventory_es.adapters.memory import open_read_model  # noqa: PLC0415  # see above

    return await open_read_model(place)


async def _open_sqlite_rows(place: str) -> ReadModel:
    from inventory_es.adapters.sqlite import open_read_model  # noqa: PLC0415  # see above

    return await open_read_model(place)


def _postgresql_rows_opener(url: str) -> Callable[[], Awaitable[ReadModel]]:
    from inventory_es.adapters.postgresql import open_read_model, rows_place  # noqa: PLC0415  # see above

    rows_place(url)
    return lambda: open_read_model(url)


_READ_MODELS: Mapping[str, Callable[[str], Awaitable[ReadModel]]] = {"memory": _open_memory_rows, "sqlite": _open_sqlite_rows}
_KNOWN_READ_MODELS = "'memory:', 'sqlite:queries.db', 'postgresql://USER@HOST/DATABASE', or an object with the methods of ReadModel"


def _memory_cache(url: str, clock: Clock) -> Callable[[], Awaitable[Cache]]:
    from inventory_es.adapters.memory import MemoryCache  # noqa: PLC0415  # see above

    _check_place("memory", url.removeprefix("memory:"))

    async def open_cache() -> Cache:
        return MemoryCache(clock=clock)

    return open_cache


def _redis_cache(url: str, _clock: Clock) -> Callable[[], Awaitable[Cache]]:
    _check_extra("redis", url)
    from inventory_es.adapters.redis import cache_at  # noqa: PLC0415  # see above

    return cache_at(url)


def _memory_bus(url: str, clock: Clock) -> Callable[[], Awaitable[EventBus]]:
    from inventory_es.adapters.memory import MemoryEventBus  # noqa: PLC0415  # see above

    _check_place("memory", url.removeprefix("memory:"))

    async def open_bus() -> EventBus:
        return MemoryEventBus(clock=clock)

    return open_bus


def _file_bus(url: str, clock: Clock) -> Callable[[], Awaitable[EventBus]]:
    from inventory_es.adapters.file import open_bus  # noqa: PLC0415  # see above

    place = url.removeprefix("file:")
    _check_place("file", place)
    return partial(open_bus, absolute_path(place), clock)


def _redis_bus(url: str, clock: Clock) -> Callable[[], Awaitable[EventBus]]:
    _check_extra("redis", url)
    from inventory_es.adapters.redis import bus_at  # noqa: PLC0415  # see above

    return bus_at(url, clock)


def _nats_bus(url: str, clock: Clock) -> Callable[[], Awaitable[EventBus]]:
    _check_extra("nats", url)
    from inventory_es.adapters.nats import bus_at  # noqa: PLC0415  # see above

    return bus_at(url, clock)


def _rabbitmq_bus(url: str, clock: Clock) -> Callable[[], Awaitable[EventBus]]:
    _check_extra("rabbitmq", url, driver="aiormq")
    from inventory_es.adapters.rabbitmq import bus_at  # noqa: PLC0415  # see above

    return bus_at(url, clock)


def _kafka_bus(url: str, clock: Clock) -> Callable[[], Awaitable[EventBus]]:
    _check_extra("kafka", url, driver="confluent_kafka")
    from inventory_es.adapters.kafka import bus_at  # noqa: PLC0415  # see above

    return bus_at(url, clock)


def _sqs_bus(url: str, clock: Clock) -> Callable[[], Awaitable[EventBus]]:
    _check_extra("sqs", url, driver="botocore")
    from inventory_es.adapters.sqs import bus_at  # noqa: PLC0415  # see above

    return bus_at(url, clock)


_CACHES: Mapping[str, Callable[[str, Clock], Callable[[], Awaitable[Cache]]]] = {
    "memory": _memory_cache,
    "redis": _redis_cache,
    "rediss": _redis_cache,
}
_BUSES: Mapping[str, Callable[[str, Clock], Callable[[], Awaitable[EventBus]]]] = {
    "amqp": _rabbitmq_bus,
    "amqps": _rabbitmq_bus,
    "file": _file_bus,
    "kafka": _kafka_bus,
    "memory": _memory_bus,
    "nats": _nats_bus,
    "redis": _redis_bus,
    "rediss": _redis_bus,
    "sqs": _sqs_bus,
}
CACHE_GROUP = "inventory_es.caches"
BUS_GROUP = "inventory_es.event_buses"
"""Entry points of other packages: ``scheme = "module:function"``, where the function is ``async (url: str, *, clock: Clock)``."""
_BREAKER_PAUSE = 5.0

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)


def open_inventory(
    store: "str | os.PathLike[str] | EventStore",
    /,
    *,
    clock: Clock | None = None,
    ids: IdGenerator | None = None,
    policies: Sequence[Policy] = (),
    cache: str | Cache | None = None,
    bus: str | EventBus | None = None,
    codec: EventCodec | None = None,
    read_models: str | ReadModel | None = None,
    projections: Sequence[Projection] = (),
    observers: Sequence[object] = (),
    settings: HandlerSettings | None = None,
    snapshots: "str | SnapshotStore | None" = None,
) -> InventoryService:
    """Assemble the inventory service over a store. Nothing is opened before ``async with``.

    Args:
        store: ``memory:``, ``file:DIR``, ``sqlite:FILE``, ``postgresql://USER@HOST/DATABASE``, or the URL of an installed adapter.
            A path is the same as ``file:PATH``. The caller closes a store object. A relative path is resolved by this call, and ``~`` is
            the home folder.
        clock: the source of time; the system's by default.
        ids: the generator of ids that callers don't give; UUID version 7 by default.
        policies: functions of the host, each of which may reject a command.
        cache: a cache for answers of ``inventory.queries``: a URL such as ``memory:`` or ``redis://HOST:6379/0``, or a cache object, which
            the caller closes. A cache by URL is behind a circuit breaker. Needs ``read_models``.
        bus: receives the events while ``inventory.followers`` run: a URL such as ``file:DIR``, ``redis://HOST:6379/0``,
            ``nats://HOST:4222``, ``amqp://HOST:5672``, ``kafka://HOST:9092`` or ``sqs://REGION``, or a bus object, which the caller
            closes. Needs ``read_models``.
        codec: encodes and decodes events; strict JSON of the closed registry by default.
        read_models: the store of the rows of ``inventory.queries``: ``memory:``, ``sqlite:FILE``, ``postgresql://USER@HOST/DATABASE``, or
            a read model object, which the caller closes. Without read models there are no queries.
        projections: further projections, such as ``low_stock(thresholds)``. One with the name of a shipped projection replaces it.
        observers: objects with any of the methods of :class:`~inventory_es.application.observers.Observers`.
        settings: limits of the command side; see :class:`HandlerSettings`.
        snapshots: a store for states of long streams, so that a first command does not replay a whole history; none by default. Give the
            URL of a store that keeps snapshots, such as ``sqlite:FILE`` or ``postgresql://…``: the event store's own, or another. Or give
            a snapshot store object, which the caller closes. A snapshot is a cache: deleting all snapshots changes no answer.

    Raises:
        ValueError: an unknown or misspelt scheme; the message has the right spelling. A relative path when the working directory no
            longer exists. A cache, a bus or projections without read models. On opening: snapshots at a URL whose store keeps none, or
            with a codec that writes none.
        TypeError: an argument of the wrong kind, such as a store that is not an event store. Or a policy or an observer that can't be
            called, or that is an asynchronous function.
        ModuleNotFoundError: a URL whose adapter needs an extra that is not installed; the message has the ``pip install``.
        HostFunctionError: a clock that returns anything but an aware datetime in UTC.
    """
    _check_methods("clock", clock, "now")
    _check_time(clock)
    _check_methods("ids", ids, "new_id")
    _check_methods("codec", codec, "encode", "decode", "encode_metadata", "decode_metadata")
    _check_policies(policies)
    bounds: object = settings
    if bounds is not None and not isinstance(bounds, HandlerSettings):
        msg = f"settings must be HandlerSettings, not a {type(bounds).__name__}"
        raise TypeError(msg)
    used_clock = SystemClock() if clock is None else clock
    parts = EngineParts(
        codec=JsonEventCodec() if codec is None else codec,
        clock=used_clock,
        ids=Uuid7Generator() if ids is None else ids,
        chance=chance,
        policies=policies,
        observers=_checked_observers(observers),
        settings=HandlerSettings() if settings is None else settings,
        snapshots=_snapshots(snapshots),
        read_model=_read_model(read_models, projections=projections, cache=cache, bus=bus),
        projections=projections,
        cache=_cache_opener(cache, used_clock, observers) if isinstance(cache, str) else cache,
        bus=bus_opener(bus, used_clock) if isinstance(bus, str) else bus,
    )
    if isinstance(store, str | os.PathLike):
        return InventoryService(_opener(store), parts, owns_store=True)
    given: object = store
    if not isinstance(given, EventStore):
        msg = f"a {type(store).__name__} is no event store: give a URL such as 'file:stock', or an object with the methods of EventStore"
        raise TypeError(msg)

    async def give() -> EventStore:
        return store

    return InventoryService(give, parts, owns_store=False)


def _check_methods(name: str, given: object, *methods: str) -> None:
    lacking = [] if given is None else [method for method in methods if not callable(getattr(given, method, None))]
    if lacking:
        msg = f"{name} must have the method {lacking[0]}, which a {type(given).__name__} lacks"
        raise TypeError(msg)


def _check_time(clock: Clock | None) -> None:
    if clock is None:
        return
    now: object = clock.now()
    if not isinstance(now, datetime) or now.utcoffset() != timedelta(0):
        raise HostFunctionError.about(role="clock", function=clock.now, answer=now, expected="it gives an aware datetime in UTC")


def _check_policies(policies: object) -> None:
    if not isinstance(policies, Sequence):
        msg = f"policies must be a sequence of functions, not a {type(policies).__name__}"
        raise TypeError(msg)
    for policy in policies:
        if not callable(policy):
            msg = f"a policy must be a function of the stock, the command and the time, not a {type(policy).__name__}"
            raise TypeError(msg)
        if iscoroutinefunction(policy) or iscoroutinefunction(type(policy).__call__):
            msg = f"policy {name_of_function(policy)} must be no coroutine function: a policy is called without await"
            raise TypeError(msg)


def _checked_observers(observers: Sequence[object]) -> Sequence[object]:
    given: object = observers
    if not isinstance(given, Sequence):
        msg = f"observers must be a sequence of objects, not a {type(given).__name__}"
        raise TypeError(msg)
    Observers(observers)
    return observers


def _snapshots(snapshots: "str | SnapshotStore | None") -> "SnapshotStore | Callable[[], Awaitable[SnapshotStore]] | None":
    given: object = snapshots
    if not isinstance(given, str):
        if given is None or isinstance(given, SnapshotStore):
            return given
        msg = f"a {type(given).__name__} keeps no snapshots: give a URL such as 'sqlite:snapshots.db', or a snapshot store object"
        raise TypeError(msg)
    open_store = _opener(given)

    async def open_snapshots() -> SnapshotStore:
        opened = await open_store()
        if isinstance(opened, SnapshotStore):
            return opened
        await opened.aclose()
        msg = f"{masked(given)!r} keeps no snapshots: write 'sqlite:snapshots.db', or give a snapshot store object"
        raise ValueError(msg)

    return open_snapshots


def _read_model(
    read_models: str | ReadModel | None, *, projections: Sequence[Projection], cache: str | Cache | None, bus: str | EventBus | None
) -> ReadModel | Callable[[], Awaitable[ReadModel]] | None:
    """Check the parts of the query side, and return the read model or what opens one; ``None`` for no query side."""
    given: object = read_models
    if given is None:
        if cache is not None or bus is not None or projections:
            msg = f"cache, bus and projections are of the query side, which needs read models: give read_models={_KNOWN_READ_MODELS}"
            raise ValueError(msg)
        return None
    for name, port, kind in (("cache", cache, Cache), ("bus", bus, EventBus)):
        if port is not None and not isinstance(port, str | kind):
            msg = f"{name} must be a URL, or have the methods of {kind.__name__}, which a {type(port).__name__} lacks"
            raise TypeError(msg)
    if not isinstance(projections, Sequence) or not all(isinstance(one, Projection) for one in projections):
        msg = "projections must be a sequence of Projection"
        raise TypeError(msg)
    if isinstance(given, str):
        return _read_model_opener(given)
    if not isinstance(given, ReadModel):
        msg = f"a {type(given).__name__} is no read model: give {_KNOWN_READ_MODELS}"
        raise TypeError(msg)
    return given


def _cache_opener(url: str, clock: Clock, observers: Sequence[object]) -> Callable[[], Awaitable[Cache]]:
    """Return a function that opens the cache of a URL behind a circuit breaker, so that queries don't wait for an absent one."""
    open_bare = _found_port("cache", Cache, url, _CACHES, CACHE_GROUP, clock)

    async def open_cache() -> Cache:
        return guarded(await open_bare(), CircuitBreaker(name_of(url), pause=_BREAKER_PAUSE, observers=observers))

    return open_cache


def bus_opener(url: str, clock: Clock) -> Callable[[], Awaitable[EventBus]]:
    """Return a function that opens the event bus of a URL; the caller closes it.

    Raises:
        ValueError: no such URL. The message has no password.
        ModuleNotFoundError: the adapter needs an extra that is not installed.
    """
    return _found_port("event bus", EventBus, url, _BUSES, BUS_GROUP, clock)


def _found_port(
    kind: str,
    port: type,
    url: str,
    built_in: Mapping[str, Callable[[str, Clock], Callable[[], Awaitable[T]]]],
    group: str,
    clock: Clock,
) -> Callable[[], Awaitable[T]]:
    """Return a function that opens the cache or the bus of a URL: a shipped one, or that of an installed package."""
    scheme, colon, _ = url.partition(":")
    if colon and scheme in built_in:
        return built_in[scheme](url, clock)
    found = tuple(entry_points(group=group, name=scheme)) if colon else ()
    if len(found) != 1:
        others = {point.name for point in entry_points(group=group)}
        known = ", ".join(f"{name}:" for name in sorted({*built_in, *others}))
        several = f"several packages offer one for {scheme + ':'!r}: uninstall all but one"
        msg = f"{masked(url)!r} is no {kind}: {several if found else f'known are {known} and objects'}"
        raise ValueError(msg)

    async def open_it() -> T:
        return cast(T, _checked(await found[0].load()(url, clock=clock), kind, port, found[0]))

    return open_it


def _checked(opened: object, kind: str, port: type, point: EntryPoint) -> object:
    if not isinstance(opened, port):
        msg = f"the entry point {point.value!r} opened no {kind}: {type(opened).__name__} lacks methods of {port.__name__}"
        raise TypeError(msg)
    return opened


def _check_extra(extra: str, url: str, *, driver: str | None = None) -> None:
    if find_spec(driver or extra) is None:
        msg = f"{masked(url)!r} needs the driver {driver or extra}: pip install {f'inventory_es[{extra}]'!r}"
        raise ModuleNotFoundError(msg, name=driver or extra)


def _read_model_opener(url: str) -> Callable[[], Awaitable[ReadModel]]:
    scheme, colon, place = url.partition(":")
    if colon and scheme in _SERVERS:
        return _postgresql_rows_opener(url)
    is_place = place == "" if scheme == "memory" else place != "" and not place.startswith("//") and not {"?", "#"} & set(place)
    if not colon or scheme not in _READ_MODELS or not is_place:
        msg = f"{masked(url)!r} is no read model: give {_KNOWN_READ_MODELS}"
        raise ValueError(msg)
    return partial(_READ_MODELS[scheme], absolute_path(place) if place else place)


def is_built_in(store: object) -> bool:
    """Return True for the URL or path of a shipped store."""
    return isinstance(store, os.PathLike) or (isinstance(store, str) and store.partition(":")[0] in {*_BUILT_IN, *_SERVERS})


def _opener(store: "str | os.PathLike[str]") -> Callable[[], Awaitable[EventStore]]:
    if isinstance(store, os.PathLike):
        return partial(_BUILT_IN["file"], absolute_path(store))
    match = _SCHEME.fullmatch(store)
    if match is None:
        msg = (
            f"{masked(store)!r} has no scheme: write {'file:' + masked(store)!r} for a folder, or 'memory:'"
            if store
            else "the store's URL is empty: write 'file:stock' or 'memory:'"
        )
        raise ValueError(msg)
    scheme, place = match.groups()
    if scheme != scheme.lower():
        msg = f"the scheme of a store is lower-case: write {scheme.lower() + ':' + masked(place)!r}"
        raise ValueError(msg)
    return _found(scheme, place)


def _found(scheme: str, place: str) -> Callable[[], Awaitable[EventStore]]:
    if scheme in _BUILT_IN:
        _check_place(scheme, place)
        return partial(_BUILT_IN[scheme], absolute_path(place) if place else place)
    if scheme in _SERVERS:
        return _SERVERS[scheme](f"{scheme}:{place}")
    found = tuple(entry_points(group=ENTRY_POINT_GROUP, name=scheme))
    if not found:
        others = {point.name for point in entry_points(group=ENTRY_POINT_GROUP)}
        known = ", ".join(f"{name}:" for name in sorted({*_BUILT_IN, *_SERVERS, *others}))
        msg = f"no event store is installed for {scheme + ':'!r}; known are {known}"
        raise ValueError(msg)
    if len(found) > 1:
        msg = f"several packages offer event stores for {scheme + ':'!r}: uninstall all but one"
        raise ValueError(msg)
    point = found[0]

    async def open_store() -> EventStore:
        return cast(EventStore, _checked(await point.load()(place), "event store", EventStore, point))

    return open_store


def _check_place(scheme: str, place: str) -> None:
    if scheme == "memory":
        if place:
            msg = f"a memory store has no place: write 'memory:', not {scheme + ':' + masked(place)!r}"
            raise ValueError(msg)
        return
    if place.startswith("//"):
        path = masked(place).lstrip("/")
        msg = f"the path follows the colon directly: write {scheme + ':' + path!r}, or {scheme + ':/' + path!r} for one from the root"
        raise ValueError(msg)
    if not place:
        msg = f"{scheme + ':'!r} needs a place: write {scheme + ':stock'!r}"
        raise ValueError(msg)
    if "?" in place or "#" in place:
        msg = f"{scheme + ':'!r} takes no options: give them to the adapter's own class, and its object to open_inventory"
        raise ValueError(msg)
