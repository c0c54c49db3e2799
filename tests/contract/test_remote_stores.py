"""Correct stores over a network, whose backend is made to misbehave."""

from collections.abc import Sequence

import attrs

from tests.contract.stores.remote_store import LookingStore, RemoteStore, RemoteStores


class UnboundedStore(RemoteStore):
    """A store without a time after which an append is settled."""

    capabilities = attrs.evolve(RemoteStore.capabilities, settles_within=None, group_commit=True)


class TestRemoteStore(RemoteStores):
    """A store that gives up the requests that it could not send in time."""


class TestLookingStore(RemoteStores):
    backends: Sequence[str] = ("asyncio",)  # a variation: what it varies is the same on every event loop
    adapter: type[RemoteStore] = LookingStore


class TestUnboundedStore(RemoteStores):
    backends: Sequence[str] = ("trio",)  # a variation: what it varies is the same on every event loop
    adapter: type[RemoteStore] = UnboundedStore
