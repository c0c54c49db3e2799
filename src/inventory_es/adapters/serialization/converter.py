"""The cattrs converter for host-defined event types: strict on the way in, one form on the way out."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NoReturn, TypeVar
from uuid import UUID

import cattrs

from inventory_es.adapters.serialization.strict_json import PayloadError

T = TypeVar("T")


class _MismatchError(TypeError):
    """A value of another type than its field. The message names types alone."""


def default_converter() -> cattrs.Converter:
    """A converter that knows JSON's own types, ``datetime`` in UTC, ``date``, ``UUID``, ``Decimal``, enums, attrs classes and collections.

    Nothing is coerced: an ``int`` field refuses ``"3"``, ``3.0`` and ``true``. Register hooks on it for types of your own,
    then hand it to the codec. Sets and mappings are written in sorted order, so that equal events have equal bytes.
    """
    converter = cattrs.Converter(
        unstruct_collection_overrides={AbstractSet: sorted, Mapping: lambda items: dict(sorted(items))},
    )
    for kind in (str, bool, int):
        converter.register_structure_hook(kind, _exactly(kind))
    converter.register_structure_hook(float, _float)
    _register(converter, datetime, _instant_text, _instant)
    _register(converter, date, date.isoformat, date.fromisoformat)
    _register(converter, UUID, str, UUID)
    _register(converter, Decimal, str, Decimal)
    return converter


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


def _exactly(kind: type[T]) -> Callable[[object, Any], T]:
    def structure(value: object, _kind: object) -> T:
        if type(value) is not kind:
            _mismatch(kind, value)
        return value

    return structure


def _float(value: object, _kind: object) -> float:
    if type(value) is not float and type(value) is not int:
        _mismatch(float, value)
    return float(value)


def _instant_text(value: datetime) -> str:
    if value.utcoffset() != timedelta(0):
        msg = "an instant in an event must be an aware datetime in UTC"
        raise ValueError(msg)
    return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _instant(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    if value.utcoffset() != timedelta(0):
        msg = "an instant in an event must be in UTC"
        raise ValueError(msg)
    return value.astimezone(UTC)


def _mismatch(kind: type[Any], value: object) -> NoReturn:
    msg = f"expected {kind.__name__}, got {type(value).__name__}"
    raise _MismatchError(msg)


def _place_and_kind(error: BaseException) -> str:
    place = ""
    while isinstance(error, cattrs.BaseValidationError) and error.exceptions:
        error = error.exceptions[0]
        for note in getattr(error, "__notes__", ()):
            place += f".{note.name}" if isinstance(note, cattrs.AttributeValidationNote) else ""
            place += f"[{note.index}]" if isinstance(note, cattrs.IterableValidationNote) else ""
    reason = str(error) if isinstance(error, _MismatchError) else type(error).__name__
    return f"{place[1:]}: {reason}" if place else reason
