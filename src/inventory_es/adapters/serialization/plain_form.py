"""The stored form of an event by way of a dict: host-defined types, older schema versions and sealed payloads."""

from collections.abc import Callable, Coroutine, Iterable, Mapping, MutableSequence, MutableSet, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any, NoReturn, Protocol, TypeVar, cast, get_args, get_origin
from uuid import UUID

import attrs
import cattrs

from inventory_es.adapters.serialization.registry import Upcaster
from inventory_es.adapters.serialization.strict_json import PayloadError, check_bounds, read_object, write_object
from inventory_es.domain.errors import name_of_function
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import RecordedEvent

T = TypeVar("T")

_ARRAYS: dict[Any, Callable[[Iterable[Any]], Any]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    Sequence: tuple,
    MutableSequence: list,
    AbstractSet: frozenset,
    MutableSet: set,
}


def default_converter() -> cattrs.Converter:
    """Return a converter for JSON's types, ``datetime`` in UTC, ``date``, ``UUID``, ``Decimal``, enums, attrs classes and collections.

    Nothing is coerced: an ``int`` field refuses ``"3"``, ``3.0`` and ``true``. Register hooks on the converter for your own types, then
    pass it to the codec. Sets and mappings are written in sorted order, so that equal events have equal bytes.
    """
    converter = cattrs.Converter(
        unstruct_collection_overrides={AbstractSet: sorted, Mapping: lambda items: dict(sorted(items))},
    )
    for kind in (str, bool, int):
        converter.register_structure_hook(kind, _exactly(kind))
    converter.register_structure_hook(float, _float)
    converter.register_structure_hook_factory(_is_array, partial(_array_hook, converter))
    converter.register_unstructure_hook(str, _text)
    _register(converter, datetime, _instant_text, _instant)
    _register(converter, date, date.isoformat, date.fromisoformat)
    _register(converter, UUID, str, UUID)
    _register(converter, Decimal, str, Decimal)
    return converter


def check_hooks(converter: cattrs.Converter, kind: type[Any]) -> None:
    """Make the hooks of a class and of all its fields now, so that a missing hook is reported before the first event.

    Raises:
        ValueError: a field of a type that the converter has no hook for.
    """
    try:
        converter.get_structure_hook(kind)
    except cattrs.StructureHandlerNotFoundError as error:
        msg = f"the converter has no structure hook for {error.type_}, a field of {kind.__qualname__}: register one"
        raise ValueError(msg) from error


def unstructure(converter: cattrs.Converter, kind: type[Any], event: object) -> dict[str, Any]:
    """Make a dict of an object.

    Raises:
        PayloadError: a hook failed.
    """
    try:
        return converter.unstructure(event, unstructure_as=kind)  # type: ignore[no-any-return]  # checked where it is written
    except PayloadError:
        raise
    except Exception as error:
        msg = f"a hook of the converter failed with {type(error).__name__}"
        raise PayloadError(msg) from error


def structure(converter: cattrs.Converter, kind: type[T], plain: dict[str, Any]) -> T:
    """Make an object of a class from a dict of JSON values.

    Raises:
        PayloadError: values that are none of that class; the message names the field and holds no value.
    """
    try:
        return converter.structure(plain, kind)
    except Exception as error:  # noqa: BLE001  # hooks are the host's, and raise what they like
        msg = f"it is no {kind.__name__}: {_place_and_kind(error)}"
        raise PayloadError(msg) from None


def _register(converter: cattrs.Converter, kind: type[T], to_text: Callable[[T], str], from_text: Callable[[str], T]) -> None:
    def structure(value: object, _kind: object) -> T:
        if type(value) is not str:
            _mismatch(kind, value)
        return from_text(value)

    converter.register_unstructure_hook(kind, to_text)
    converter.register_structure_hook(kind, structure)


def _exactly(kind: type[Any]) -> Callable[[object, Any], Any]:
    def structure(value: object, target: Any) -> Any:
        if type(value) is not kind:
            _mismatch(kind, value)
        # An enum of texts or numbers is dispatched as one.
        return value if target is kind else target(value)

    return structure


_list = _exactly(list)


def _is_array(kind: Any) -> bool:
    return (get_origin(kind) or kind) in _ARRAYS


def _array_hook(converter: Any, kind: Any) -> Callable[[Any, Any], Any]:
    """Refuse values that are no array. cattrs itself accepts any iterable as a collection, so a text would pass as a list of texts."""
    build, arguments = _ARRAYS[get_origin(kind) or kind], get_args(kind)
    is_fixed = build is tuple and arguments and arguments[-1] is not Ellipsis

    def structure(value: object, _kind: object) -> Any:
        items: list[Any] = _list(value, list)
        if is_fixed and len(items) != len(arguments):
            msg = f"expected {len(arguments)} items, got {len(items)}"
            raise PayloadError(msg)
        kinds = arguments if is_fixed else (arguments[:1] or (Any,)) * len(items)
        return build(converter.structure(item, kind) for item, kind in zip(items, kinds, strict=True))

    return structure


def _float(value: object, _kind: object) -> float:
    if type(value) is not float and type(value) is not int:
        _mismatch(float, value)
    return float(value)


def _text(value: str) -> object:
    # An enum of texts is dispatched as a text.
    return value.value if isinstance(value, Enum) else value


def _instant_text(value: datetime) -> str:
    if value.utcoffset() != timedelta(0):
        msg = "an instant must be an aware datetime in UTC"
        raise PayloadError(msg)
    return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _instant(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    if value.utcoffset() != timedelta(0):
        msg = "expected an instant in UTC"
        raise PayloadError(msg)
    return value.astimezone(UTC)


def _mismatch(kind: type[Any], value: object) -> NoReturn:
    msg = f"expected {kind.__name__}, got {type(value).__name__}"
    raise PayloadError(msg)


def _place_and_kind(error: BaseException) -> str:
    place = ""
    while isinstance(error, cattrs.BaseValidationError) and error.exceptions:
        error = error.exceptions[0]
        for note in getattr(error, "__notes__", ()):
            place += f".{note.name}" if isinstance(note, cattrs.AttributeValidationNote) else ""
    reason = str(error) if isinstance(error, PayloadError) else type(error).__name__
    return f"{place[1:]}: {reason}" if place else reason


class PayloadSeal(Protocol):
    """A host's transform of payloads, as the last step of writing and the first of reading: encrypt fields, delete keys.

    ``open`` undoes ``seal``, also for payloads that were stored before there was a seal. ``seal`` must be deterministic, because a
    repeated command is recognised by the bytes of its events. If a key was deleted, ``open`` returns a replacement for the data that
    can't be read any more. Both are called from any thread.
    """

    def seal(self, event_type: str, data: dict[str, Any], /) -> dict[str, Any]:
        """Return the dict of JSON values to store in place of ``data``."""
        ...

    def open(self, event_type: str, data: dict[str, Any], /) -> dict[str, Any]:
        """Return the dict that ``seal`` was given."""
        ...


@attrs.frozen(kw_only=True)
class PlainForm:
    """The conversion of events of one type and schema version to dicts of JSON values, and back.

    Attributes:
        event_type: the wire name.
        to_plain: returns the payload of an event.
        from_plain: returns the event of a payload in the newest schema version.
        check: refuses an event that does not belong to the stream.
        upcasters: from the stored version to the newest one, in order.
        seal: the host's transform, if there is one.
        max_bytes: of one payload.
    """

    event_type: str
    to_plain: Callable[[Any], dict[str, Any]]
    from_plain: Callable[[dict[str, Any]], Any]
    check: Callable[[Any, StreamId], None]
    upcasters: Sequence[Upcaster]
    seal: PayloadSeal | None
    max_bytes: int

    def write(self, event: Any) -> bytes:
        """Return the payload of an event of the newest schema version.

        Raises:
            PayloadError: values that JSON has no form for.
        """
        plain = self.to_plain(event)
        if self.seal is not None:
            plain = _run("the seal", partial(self.seal.seal, self.event_type), plain)
        return write_object(plain, self.max_bytes)

    def read(self, recorded: RecordedEvent) -> Any:
        """Open a payload, bring it to the newest schema version, and return its event, checked.

        Raises:
            PayloadError: the bytes are no such payload.
        """
        check_bounds(recorded.data, self.max_bytes)
        plain = read_object(recorded.data)
        if self.seal is not None:
            plain = _run("the seal", partial(self.seal.open, self.event_type), plain)
        for upcaster in self.upcasters:
            plain = _run(f"upcaster {name_of_function(upcaster)}", upcaster, plain)
        event = self.from_plain(plain)
        self.check(event, recorded.stream)
        return event


def _run(name: str, step: Callable[[dict[str, Any]], object], plain: dict[str, Any]) -> dict[str, Any]:
    try:
        result = step(plain)
    except Exception as error:
        msg = f"{name} failed with {type(error).__name__}"
        raise PayloadError(msg) from error
    if isinstance(result, Coroutine):
        result.close()
    if type(result) is not dict:
        msg = f"{name} gave a {type(result).__name__} and not a dict"
        raise PayloadError(msg)
    return cast("dict[str, Any]", result)
