"""Read models by URL, and the parts of a query side from what a host gave."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from inventory_es.application.following.projection import Projection
from inventory_es.application.query_side import QuerySideParts
from inventory_es.ports import Cache, EventBus, ReadModel
from inventory_es.ports.toolkit.paths import absolute_path


# Import statements, for the tools that freeze an application; inside, because SQLite may be missing from a Python.
async def _open_memory(place: str) -> ReadModel:
    from inventory_es.adapters.memory import open_read_model  # noqa: PLC0415  # see above

    return await open_read_model(place)


async def _open_sqlite(place: str) -> ReadModel:
    from inventory_es.adapters.sqlite import open_read_model  # noqa: PLC0415  # see above

    return await open_read_model(place)


_BUILT_IN: Mapping[str, Callable[[str], Awaitable[ReadModel]]] = {"memory": _open_memory, "sqlite": _open_sqlite}
_KNOWN = "'memory:', 'sqlite:queries.db', or an object with the methods of ReadModel"


def query_side_of(
    read_models: str | ReadModel | None, *, projections: Sequence[Projection], cache: Cache | None, bus: EventBus | None
) -> QuerySideParts | None:
    """Return the parts of the query side; ``None`` for none.

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
    if not colon or scheme not in _BUILT_IN or not is_place:
        msg = f"{url!r} is no read model: give {_KNOWN}"
        raise ValueError(msg)
    return partial(_BUILT_IN[scheme], absolute_path(place) if place else place)
