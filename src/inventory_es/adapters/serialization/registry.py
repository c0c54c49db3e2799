"""The closed registry of event types: the class of each wire name and schema version."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn, Self

import attrs

from inventory_es.domain.events import EVENT_TYPES
from inventory_es.domain.processes.event_types import PROCESS_EVENT_TYPES

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""A pure function from the payload of one schema version to that of the next: one event to one event."""

_NO_UPCASTERS: Mapping[int, Upcaster] = MappingProxyType({})
_OWN: dict[str, type[Any]] = {cls.__name__: cls for cls in (*EVENT_TYPES, *PROCESS_EVENT_TYPES)}


class EventKind(NamedTuple):
    """A class of events, and its names in the store.

    Attributes:
        cls: the attrs class of the events.
        event_type: the wire name.
        schema_version: the version of new payloads.
        upcasters: by the version that each one reads, up to the one before ``schema_version``, without gaps.
    """

    cls: type[Any]
    event_type: str
    schema_version: int
    upcasters: Mapping[int, Upcaster]


@attrs.frozen
class EventRegistry:
    """An immutable registry. :meth:`with_event` returns a larger one. Event types outside of the registry can't be read or written.

    No class is found by its import path, and nothing is imported or unpickled from data.

    Attributes:
        kinds: every registered class, in the order of registration.
    """

    kinds: tuple[EventKind, ...] = ()

    def __attrs_post_init__(self) -> None:
        for at, kind in enumerate(self.kinds):
            _check_name(kind.event_type, kind.schema_version)
            _check_class(kind, self.kinds[:at])
            _check_versions(kind, _versions_of(kind.event_type, self.kinds[:at]))

    def with_event(
        self,
        cls: type[Any],
        *,
        name: str,
        schema_version: int,
        upcasters: Mapping[int, Upcaster] = _NO_UPCASTERS,
    ) -> Self:
        """Return a registry that also has ``cls``.

        Args:
            cls: an attrs class.
            name: the permanent name of its events in the store: 1 to 128 printable ASCII characters.
            schema_version: of the payloads that ``cls`` reads and writes, 1 or more.
            upcasters: by the schema version that each one reads. They must reach ``schema_version`` without a gap.

        Raises:
            ValueError: a name or version that breaks these rules, or a version that is registered already or leaves a gap. Also a class
                that is registered already or is no attrs class, or a name of this package's own events for another class.
        """
        kind = EventKind(cls, name, schema_version, MappingProxyType(dict(upcasters)))
        return attrs.evolve(self, kinds=(*self.kinds, kind))

    def versions_of(self, event_type: str) -> frozenset[int]:
        """Return the readable schema versions; empty for an unknown type."""
        return _versions_of(event_type, self.kinds)


def default_registry() -> EventRegistry:
    """Return the events of inventories and processes, in every schema version ever written. Hosts add theirs with ``with_event``."""
    return EventRegistry(tuple(EventKind(cls, name, 1, _NO_UPCASTERS) for name, cls in _OWN.items()))


def _versions_of(event_type: str, kinds: Iterable[EventKind]) -> frozenset[int]:
    return frozenset(version for kind in kinds if kind.event_type == event_type for version in (*kind.upcasters, kind.schema_version))


def _check_name(name: object, schema_version: object) -> None:
    if not (isinstance(name, str) and 1 <= len(name) <= 128 and name.isascii() and name.isprintable()):
        msg = "an event type is called by an explicit text of 1 to 128 printable ASCII characters"
        raise ValueError(msg)
    if type(schema_version) is not int or schema_version < 1:
        _refuse(name, "needs a schema version of 1 or more")


def _check_class(kind: EventKind, others: Iterable[EventKind]) -> None:
    cls, name = kind.cls, kind.event_type
    if not attrs.has(cls):
        _refuse(name, "is registered with an attrs class")
    if _OWN.get(name, cls) is not cls or (cls in _OWN.values() and cls.__name__ != name):
        _refuse(name, f"can't be registered with {cls.__qualname__}: the events of this package keep their names")
    for other in others:
        if other.cls is cls:
            _refuse(name, f"can't be registered with {cls.__qualname__}, which is {other.event_type} already")


def _check_versions(kind: EventKind, known: frozenset[int]) -> None:
    first = kind.schema_version - len(kind.upcasters)
    new = range(first, kind.schema_version + 1)
    if first < 1 or set(kind.upcasters) != set(new[:-1]):
        steps = ", ".join(map(str, sorted(kind.upcasters)))
        _refuse(kind.event_type, f"has upcasters from {steps}, which do not lead to version {kind.schema_version} step by step")
    if twice := known.intersection(new):
        _refuse(kind.event_type, f"version {max(twice)} is registered already")
    if known and max(known) + 1 != first and min(known) - 1 != kind.schema_version:
        _refuse(kind.event_type, f"would have a gap between its versions {sorted(known)} and {list(new)}")


def _refuse(name: str, problem: str) -> NoReturn:
    msg = f"event type {name} {problem}"
    raise ValueError(msg)
