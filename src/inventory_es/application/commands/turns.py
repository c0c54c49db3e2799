"""Turns: who loses race after race against other processes makes them wait, once."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext

import anyio

from inventory_es.ports import EventStore, TurnTaking

RACES = 3
"""Lost in a row before a turn is taken: a turn holds up the whole store, so a shelf that is merely popular is better raced for."""


class Turns:
    """Takes turns of a store, where it gives them.

    Args:
        store: whose.
        max_attempts: how often is tried at all; the last attempt has a turn, however few races were lost.
    """

    def __init__(self, store: EventStore, max_attempts: int) -> None:
        self._store = store if isinstance(store, TurnTaking) else None
        self._races = max(1, min(RACES, max_attempts - 1))

    def is_due(self, lost: int) -> bool:
        """Whether the next attempt needs a turn, after so many lost races in a row."""
        return self._store is not None and lost >= self._races

    def when_due(self, lost: int) -> AbstractAsyncContextManager[None]:
        """A turn if the next attempt needs one; otherwise nothing. What was read before is to be read again in it."""
        return nullcontext() if self._store is None or lost < self._races else _shielded(self._store)


@asynccontextmanager
async def _shielded(store: TurnTaking) -> AsyncGenerator[None, None]:
    """Whoever waits for a turn serves others, and is cancelled when they are served."""
    async with AsyncExitStack() as stack:
        with anyio.CancelScope(shield=True):
            await stack.enter_async_context(store.turn())
        yield
