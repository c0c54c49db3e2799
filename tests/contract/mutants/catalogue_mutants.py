"""Event stores that list their streams wrongly."""

from collections.abc import Mapping
from types import MappingProxyType

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import StreamHead, StreamsPage
from tests.contract.mutants.mutant import breaks
from tests.contract.stores.plain_store import PlainStore


@breaks("ES-51", "Lists streams in the order in which they began.")
class ListsByAge(PlainStore):
    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        page = await super().streams(prefix, after=after, limit=limit)
        first = [event.stream for event in self.shelf.feed]
        return attrs.evolve(page, heads=sorted(page.heads, key=lambda head: first.index(head.stream)))


@breaks("ES-51", "The stream to go on after stands on the next page again.")
class RepeatsTheLast(PlainStore):
    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        page = await super().streams(prefix, after=after, limit=limit)
        if after is None or limit == 1:
            return page
        return attrs.evolve(page, heads=[StreamHead(after, self.version(after)), *page.heads][:limit])


@breaks("ES-51", "A page that is cut says that it is the end.")
class EndsAtThePage(PlainStore):
    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        return attrs.evolve(await super().streams(prefix, after=after, limit=limit), is_end=True)


@breaks("ES-51", "Takes the prefix for a name: other streams that begin so are left out.")
class ListsTheNamed(PlainStore):
    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        page = await super().streams(prefix, after=after, limit=limit)
        return attrs.evolve(page, heads=[head for head in page.heads if not prefix or str(head.stream) == prefix])


@breaks("ES-51", "Takes upper for lower case in the prefix.")
class FoldsThePrefix(PlainStore):
    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        page = await super().streams("", after=after, limit=1_000)
        heads = [head for head in page.heads if str(head.stream).casefold().startswith(prefix.casefold())]
        return StreamsPage(heads[:limit], is_end=len(heads) <= limit)


@breaks("ES-51", "Says of every stream that it has one event.")
class CountsToOne(PlainStore):
    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        page = await super().streams(prefix, after=after, limit=limit)
        return attrs.evolve(page, heads=[StreamHead(head.stream, 1) for head in page.heads])


@breaks("ES-51", "Keeps its streams in an attribute of that name.")
class KeepsStreamsThere(PlainStore):
    streams: Mapping[StreamId, int] = MappingProxyType({})  # type: ignore[assignment]  # that is what is wrong with it


@breaks("ES-51", "Gives one stream where none was asked for.")
class TakesNoLimit(PlainStore):
    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        return await super().streams(prefix, after=after, limit=max(1, limit))
