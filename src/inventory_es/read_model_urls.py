"""Read models by URL, and the parts of a query side from what a host gave."""

from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import cast

from inventory_es.application.projection import Projection
from inventory_es.application.query_side import QuerySideParts
from inventory_es.ports import Cache, EventBus, ReadModel

_OPENINGS = {"memory": "inventory_es.adapters.memory", "sqlite": "inventory_es.adapters.sqlite"}
_KNOWN = "'memory:', 'sqlite:queries.db', or an object with the methods of ReadModel"


def query_side_of(
    read_models: str | ReadModel | None, *, projections: Sequence[Projection], cache: Cache | None, bus: EventBus | None
) -> QuerySideParts | None:
    """What the query side is assembled from; ``None`` for none.

    Raises:
        ValueError: an unknown URL, or something that needs read models without them.
        TypeError: something that is no read model, no cache, no bus, or no projection.
    """
    given: object = read_models
    if given is None:
        if cache is not None or bus is not None or projections:
            msg = f"cache, bus and projections are of the query side, which needs read models: give read_models={_KNOWN}"
            raise ValueError(msg)
        return None
    for name, port, kind in (("cache", cache, Cache), ("bus", bus, EventBus)):
        if port is not None and not isinstance(port, kind):
            msg = f"{name} must have the methods of {kind.__name__}, which a {type(port).__name__} lacks"
            raise TypeError(msg)
    if not isinstance(projections, Sequence) or not all(isinstance(one, Projection) for one in projections):
        msg = "projections must be a sequence of Projection"
        raise TypeError(msg)
    if isinstance(given, str):
        return QuerySideParts(read_model=_opener(given), projections=projections, cache=cache, bus=bus)
    if not isinstance(given, ReadModel):
        msg = f"a {type(given).__name__} is no read model: give {_KNOWN}"
        raise TypeError(msg)
    return QuerySideParts(read_model=given, projections=projections, cache=cache, bus=bus)


def _opener(url: str) -> Callable[[], Awaitable[ReadModel]]:
    scheme, colon, place = url.partition(":")
    is_place = place == "" if scheme == "memory" else place != "" and not place.startswith("//") and not {"?", "#"} & set(place)
    if not colon or scheme not in _OPENINGS or not is_place:
        msg = f"{url!r} is no read model: give {_KNOWN}"
        raise ValueError(msg)

    async def open_read_model() -> ReadModel:
        opening = cast("Callable[[str], Awaitable[ReadModel]]", import_module(_OPENINGS[scheme]).open_read_model)
        return await opening(place)

    return open_read_model
