"""Under which keys answers lie in a cache, and which events change them."""

from functools import lru_cache

from inventory_es.domain.identifiers import INVENTORY_CATEGORY
from inventory_es.domain.stream_id import StreamId


@lru_cache(maxsize=8_192)
def stock_key(product_id: str, store_id: str) -> str:
    """``stock:{product_id}:{store_id}``, with ``%`` and ``:`` inside the ids percent-encoded."""
    return f"stock:{_quoted(product_id)}:{_quoted(store_id)}"


@lru_cache(maxsize=8_192)
def product_inventory_key(product_id: str) -> str:
    """``product_inventory:{product_id}``, with ``%`` and ``:`` inside the id percent-encoded."""
    return f"product_inventory:{_quoted(product_id)}"


def keys_changed_by(stream: StreamId) -> tuple[str, ...]:
    """The keys of the answers that an event of this stream changes."""
    if stream.category != INVENTORY_CATEGORY:
        return ()
    product_id, store_id = stream.parts
    return stock_key(product_id, store_id), product_inventory_key(product_id)


def _quoted(part: str) -> str:
    return part.replace("%", "%25").replace(":", "%3a")
