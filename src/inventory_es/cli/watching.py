"""Following a store to watch it: what moves, how fast, and how far behind its readers are."""

from collections.abc import Sequence

import anyio
import attrs

from inventory_es.adapters.system import SystemClock
from inventory_es.application.following.projection import ProjectionStatus
from inventory_es.application.following.subscription import Pace, Subscription
from inventory_es.cli.event_rate import EventRate
from inventory_es.cli.hot_products import HotProducts
from inventory_es.cli.projecting import Workshop
from inventory_es.cli.shipped_projections import SHIPPED
from inventory_es.cli.watch_frame import WatchFrame
from inventory_es.ports import EventFeed, ReadModel
from inventory_es.ports.errors import UnavailableError
from inventory_es.ports.toolkit.page_rules import read_feed_page

_PAGE = 2_000
_PACE = Pace(batch_size=_PAGE, longest_wait=1.0)


class Watching:
    """Eyes on one store.

    Args:
        url: of the store, as it is shown.
        feed: of the store.
        read_model: watched too; ``None`` for none.
        window: how many events to look back.
    """

    def __init__(self, url: str, feed: EventFeed, read_model: ReadModel | None, *, window: int) -> None:
        self._url = url
        self._feed = feed
        self._read_model = read_model
        self._window = window
        self._products = HotProducts(window)
        self._position = 0
        self._rate: EventRate | None = None
        self._subscription: Subscription | None = None
        self._is_stopping = False

    async def catch_up(self) -> None:
        """Read the last events, up to the end of the feed as of now."""
        self._position = max(0, await self._feed.head() - self._window)
        is_end = False
        while not is_end:
            page = await read_feed_page(self._feed, after=self._position, limit=_PAGE)
            self._products.take(page.events)
            self._position, is_end = page.next_after, page.is_end

    async def follow(self) -> None:
        """Read what comes, until :meth:`stop`."""
        self._rate = EventRate(anyio.current_time())
        async with Subscription(self._feed, after=self._position, pace=_PACE) as subscription:
            self._subscription = subscription
            if self._is_stopping:
                return
            async for batch in subscription:
                self._products.take(batch.events)
                self._rate.add(len(batch.events), anyio.current_time())
                self._position = batch.position

    def stop(self) -> None:
        """End :meth:`follow`. Twice is fine."""
        self._is_stopping = True
        if self._subscription is not None:
            self._subscription.stop()

    async def frame(self) -> WatchFrame:
        """This moment."""
        frame = WatchFrame(
            url=self._url,
            at=SystemClock().now(),
            position=self._position,
            behind=0,
            products=self._products,
            rate=None if self._rate is None else self._rate.per_second(anyio.current_time()),
            sparkline="" if self._rate is None else self._rate.sparkline(anyio.current_time()),
            projections=(),
            trouble=None,
        )
        try:
            behind = max(0, await self._feed.head() - self._position)
            return attrs.evolve(frame, behind=behind, projections=await self._projections())
        except UnavailableError as problem:
            return attrs.evolve(frame, trouble=str(problem))

    async def _projections(self) -> Sequence[ProjectionStatus]:
        """How the active version of each projection stands that is there."""
        if self._read_model is None:
            return ()
        workshop = Workshop(feed=self._feed, read_model=self._read_model, on_failure="stop")
        there = [name for name in SHIPPED if await self._read_model.versions(name)]
        return [await workshop.runner(await workshop.active(name)).status() for name in there]
