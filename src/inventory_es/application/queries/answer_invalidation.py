"""Answers in the cache give way to the events that change them."""

from inventory_es.application.following.subscription import EventFilter, Subscription
from inventory_es.application.queries.answer_keys import keys_changed_by
from inventory_es.application.queries.cached_answers import AnswerCache
from inventory_es.domain.identifiers import INVENTORY_CATEGORY
from inventory_es.ports import EventFeed


class AnswerInvalidation:
    """Follows the feed from its end, and takes the answers away that each event changes. One for every process that has a cache.

    Without it an answer is given until its time to live is over.

    Args:
        feed: of the event store.
        answers: what to take away.
    """

    def __init__(self, feed: EventFeed, answers: AnswerCache) -> None:
        self._answers = answers
        self._subscription = Subscription(feed, after=None, wanted=EventFilter(categories={INVENTORY_CATEGORY}))

    async def run(self) -> None:
        """Follow until :meth:`stop`.

        Raises:
            CorruptStoreError, StoreClosedError: as the store.
        """
        async with self._subscription as batches:
            self._answers.forget(batches.position)
            async for batch in batches:
                await self._answers.invalidate({key: event.position for event in batch.events for key in keys_changed_by(event.stream)})

    def stop(self) -> None:
        """End :meth:`run`. Twice is fine."""
        self._subscription.stop()
