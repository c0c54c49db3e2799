"""Wrappers of ports: one table of the calls of each protocol, for guards, faults and instrumentation."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any

from inventory_es.ports.cache import Cache, ChangeMarks
from inventory_es.ports.event_bus import EventBus, GroupLag
from inventory_es.ports.event_store import EventFeed, EventStore, GroupCommit, StreamCatalogue, TurnTaking, VersionGlance
from inventory_es.ports.read_model import ReadModel
from inventory_es.ports.snapshot_store import SnapshotStore

_ASKED: Mapping[type[Any], tuple[str, ...]] = {
    EventStore: ("append", "read_stream", "read_stream_backwards", "find_events"),
    EventFeed: ("read_all", "head"),
    GroupCommit: ("append_group",),
    StreamCatalogue: ("streams",),
    VersionGlance: (),
    TurnTaking: (),
    SnapshotStore: ("load_snapshot", "save_snapshot", "discard_snapshots", "clear_snapshots"),
    Cache: ("get", "set", "invalidate", "clear"),
    ChangeMarks: (),
    EventBus: ("publish", "dead_letters", "redeliver"),
    GroupLag: ("lag",),
    ReadModel: ("prepare", "checkpoint", "commit", "select", "versions", "activate", "drop"),
}
"""By protocol, the methods that call the backend."""

_PASSED: Mapping[type[Any], tuple[str, ...]] = {
    EventStore: ("capabilities", "aclose"),
    EventFeed: ("wait_for_position",),
    VersionGlance: ("glance_version",),
    TurnTaking: ("turn",),
    SnapshotStore: ("aclose",),
    Cache: ("aclose",),
    ChangeMarks: ("change_mark",),
    EventBus: ("capabilities", "subscribe", "aclose"),
    ReadModel: ("aclose",),
}
"""By protocol, the members that a wrapper passes through: they call no backend, wait on purpose, or close the adapter."""

Around = Callable[[str, Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Makes a call, given the name of the method and a function that makes the call each time."""


def forward(port: object, around: Around, *, name: str, own: Mapping[str, Any] | None = None) -> Any:
    """Return an object with every protocol of ``port``, whose calls go through ``around``.

    Args:
        port: an adapter of any port.
        around: makes each call of the backend.
        name: of the new class.
        own: attributes of that class that are not forwarded.
    """
    protocols = [protocol for protocol in _ASKED if isinstance(port, protocol)]
    members: dict[str, Any] = {"__wrapped__": port, **dict(_members(port, around, protocols))}
    return type(name, (), members | dict(own or {}))()


def _members(port: object, around: Around, protocols: list[type[Any]]) -> Iterator[tuple[str, Any]]:
    for protocol in protocols:
        for method in _ASKED[protocol]:
            yield method, _asking(method, getattr(port, method), around)
        for attribute in _PASSED.get(protocol, ()):
            yield attribute, _handing(attribute, port)


def _asking(name: str, method: Callable[..., Awaitable[Any]], around: Around) -> Callable[..., Awaitable[Any]]:
    async def call(_self: object, *args: Any, **kwargs: Any) -> Any:
        return await around(name, partial(method, *args, **kwargs))

    call.__name__ = name
    return call


def _handing(name: str, port: object) -> property:
    return property(lambda _self: getattr(port, name))
