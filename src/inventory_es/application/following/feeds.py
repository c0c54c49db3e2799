"""The feed of a store, or a clear word that it has none."""

from inventory_es.ports import EventFeed, EventStore
from inventory_es.ports.errors import UnsupportedCapabilityError
from inventory_es.ports.toolkit.adapter_name import adapter_name


def feed_of(store: EventStore) -> EventFeed:
    """The store as a feed.

    Raises:
        UnsupportedCapabilityError: the store has no feed.
    """
    if store.capabilities.feed == "none" or not isinstance(store, EventFeed):
        raise UnsupportedCapabilityError(
            store=adapter_name(store), capability="feed", way_out="read the streams that you know, or choose a store with a feed"
        )
    return store
