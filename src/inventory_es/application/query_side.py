"""How the parts of the query side fit together."""

from collections.abc import Awaitable, Callable, Sequence

import attrs

from inventory_es.application.commands.states import StreamReader
from inventory_es.application.followers import Followers
from inventory_es.application.following.projection import Projection
from inventory_es.application.observers import Observers
from inventory_es.application.projections.shipped import with_shipped
from inventory_es.application.queries.cached_answers import CachedAnswers
from inventory_es.application.queries.history import HistoryPages
from inventory_es.application.queries.projection_reader import readers_of
from inventory_es.application.queries.stock_queries import StockQueries
from inventory_es.ports import Cache, Clock, EventBus, EventCodec, EventFeed, EventStore, IdGenerator, ReadModel


@attrs.frozen(kw_only=True)
class QuerySideParts:
    """What a host may choose.

    Attributes:
        read_model: where the rows are: an open read model, which stays the host's to close, or what opens one, which is closed with the
            engine.
        projections: besides the shipped ones, or in the place of those of the same name.
        cache: keeps answers; ``None`` for none.
        bus: where the events are published to; ``None`` for nowhere.
    """

    read_model: ReadModel | Callable[[], Awaitable[ReadModel]]
    projections: Sequence[Projection] = ()
    cache: Cache | None = None
    bus: EventBus | None = None


@attrs.frozen
class QuerySide:
    """The assembled query side over one store and one read model.

    Attributes:
        queries: answers from the rows.
        followers: keep the rows up with the events.
    """

    queries: StockQueries
    followers: Followers


def assemble_query_side(
    store: EventStore,
    read_model: ReadModel,
    parts: QuerySideParts,
    *,
    codec: EventCodec,
    clock: Clock,
    ids: IdGenerator,
    observers: Observers,
) -> QuerySide:
    """Build the query side over ``store`` and ``read_model``."""
    head = store.head if isinstance(store, EventFeed) and store.capabilities.feed != "none" else None
    answers = None if parts.cache is None else CachedAnswers(parts.cache, clock=clock, observers=observers, head=head)
    history = HistoryPages(store, StreamReader(store, codec))
    projections = tuple(with_shipped(parts.projections).values())
    return QuerySide(
        StockQueries(readers_of(read_model, projections), history=history, answers=answers),
        Followers(
            store,
            read_model,
            projections,
            codec=codec,
            clock=clock,
            ids=ids,
            answers=answers,
            bus=parts.bus,
        ),
    )
