"""Going through a store's catalogue of streams, page by page."""

from collections.abc import AsyncGenerator

from inventory_es.ports.errors import UnsupportedCapabilityError
from inventory_es.ports.event_store import EventStore, StreamCatalogue
from inventory_es.ports.records import StreamHead
from inventory_es.ports.toolkit.adapter_name import adapter_name
from inventory_es.ports.toolkit.page_rules import read_streams_page

_PAGE = 1_000


async def stream_heads(store: EventStore, prefix: str = "") -> AsyncGenerator[StreamHead, None]:
    """Every stream whose text starts with ``prefix``, ordered by its text. Close it if you stop early.

    Raises:
        UnsupportedCapabilityError: the store has no catalogue.
        CorruptStoreError: a page contradicts itself or the one before.
    """
    if not isinstance(store, StreamCatalogue):
        way_out = "ask for the ones that you know"
        raise UnsupportedCapabilityError(store=adapter_name(store), capability="catalogue of streams", way_out=way_out)
    last, is_end = None, False
    while not is_end:
        page = await read_streams_page(store, prefix, after=last, limit=_PAGE)
        for head in page.heads:
            yield head
            last = head.stream
        is_end = page.is_end
