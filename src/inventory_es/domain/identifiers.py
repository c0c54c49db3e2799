"""Identifiers of inventories, reservations and commands."""

import re
from functools import cached_property, lru_cache
from typing import Self
from urllib.parse import quote, unquote
from uuid import UUID

import attrs

from inventory_es.domain.errors import InvalidIdentifierError
from inventory_es.domain.stream_id import MAX_PART_LENGTH, StreamId

INVENTORY_CATEGORY = "inventory"
MAX_REFERENCE_LENGTH = 512

Id = str | UUID
"""An identifier that a caller gives: text of 1 to 128 characters, or a UUID."""

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def identifier(name: str, value: object) -> str:
    """Check an identifier that a caller gave.

    Args:
        name: the name of the argument, for the error.
        value: a text of 1 to 128 characters without control characters and lone surrogates, or a ``uuid.UUID``.

    Returns:
        The text as given (never normalised), or the canonical lower-case text of the UUID.

    Raises:
        InvalidIdentifierError: anything else.
    """
    if type(value) is str and 0 < len(value) <= MAX_PART_LENGTH and value.isprintable():  # most of them, at first sight
        return value
    if isinstance(value, UUID):
        return str(value)
    if not isinstance(value, str):
        raise InvalidIdentifierError(name=name, problem=f"must be a text or a uuid.UUID, not a {type(value).__name__}")
    return _text(name, value, MAX_PART_LENGTH)


def reference(value: str | None) -> str | None:
    """Check a reference to the cause of a movement, such as an order: URI-like text of 1 to 512 characters, or ``None``.

    Raises:
        InvalidIdentifierError: anything else.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidIdentifierError(name="reference", problem=f"must be a text or None, not a {type(value).__name__}")
    return _text("reference", value, MAX_REFERENCE_LENGTH)


@attrs.frozen(init=False, eq=False, slots=False)
class InventoryId:
    """The identity of the aggregate: one product in one store.

    Args:
        product_id: a text of 1 to 128 characters without control characters, or a ``uuid.UUID``. Never normalised.
        store_id: likewise.

    Raises:
        InvalidIdentifierError: anything else.
    """

    product_id: str
    store_id: str

    def __init__(self, product_id: str | UUID, store_id: str | UUID) -> None:
        object.__setattr__(self, "product_id", identifier("product_id", product_id))
        object.__setattr__(self, "store_id", identifier("store_id", store_id))
        object.__setattr__(self, "_hash", hash((self.product_id, self.store_id)))

    @classmethod
    def from_stream(cls, stream: StreamId) -> Self:
        """Return the inventory whose events are in ``stream``.

        Raises:
            ValueError: the stream is of another category, or not of a product and a store.
        """
        if stream.category != INVENTORY_CATEGORY or len(stream.parts) != 2:
            msg = f"{stream} is not the stream of an inventory"
            raise ValueError(msg)
        return cls(*stream.parts)

    @cached_property
    def stream(self) -> StreamId:
        """The stream of this inventory: ``inventory-{product_id}-{store_id}``."""
        return StreamId(INVENTORY_CATEGORY, self.product_id, self.store_id)

    def __str__(self) -> str:
        return str(self.stream)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, InventoryId) and self.product_id == other.product_id and self.store_id == other.store_id)

    def __hash__(self) -> int:
        kept: int = self.__dict__["_hash"]
        return kept

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        return type(self), (self.product_id, self.store_id)


def inventory_id(product_id: Id, store_id: Id) -> InventoryId:
    """Return the inventory of a product in a store. Recent ones are cached, together with their stream ids.

    Raises:
        InvalidIdentifierError: see :class:`InventoryId`.
    """
    if type(product_id) is str and type(store_id) is str:
        return _recent(product_id, store_id)
    return InventoryId(product_id, store_id)


_recent = lru_cache(maxsize=8_192)(InventoryId)


@attrs.frozen(init=False)
class ReservationRef:
    """The address of a reservation: enough to extend, confirm, release or commit it later.

    ``str(ref)`` is one line of URL-safe text for a link or a database column; :meth:`parse` reads it back.

    Raises:
        InvalidIdentifierError: an identifier that breaks the rules of :func:`identifier`.
    """

    product_id: str
    store_id: str
    reservation_id: str

    def __init__(self, product_id: str | UUID, store_id: str | UUID, reservation_id: str | UUID) -> None:
        self.__attrs_init__(
            identifier("product_id", product_id),
            identifier("store_id", store_id),
            identifier("reservation_id", reservation_id),
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read back what ``str(ref)`` wrote.

        Raises:
            InvalidIdentifierError: something else.
        """
        try:
            product_id, store_id, reservation_id = (unquote(part, errors="strict") for part in text.split("/"))
        except (AttributeError, TypeError, ValueError):  # no text, another number of parts, or no UTF-8
            raise InvalidIdentifierError(name="reservation reference", problem="must be what str(reservation.ref) gave") from None
        return cls(product_id, store_id, reservation_id)

    @property
    def inventory_id(self) -> InventoryId:
        """The inventory of the reservation."""
        return inventory_id(self.product_id, self.store_id)

    def __str__(self) -> str:
        return "/".join(quote(part, safe="") for part in (self.product_id, self.store_id, self.reservation_id))


def _text(name: str, value: str, longest: int) -> str:
    if not 1 <= len(value) <= longest:
        raise InvalidIdentifierError(name=name, problem=f"must have 1 to {longest} characters, not {len(value)}")
    if not value.isprintable() and _FORBIDDEN.search(value):
        raise InvalidIdentifierError(name=name, problem="must not have control characters or lone surrogates")
    return value
