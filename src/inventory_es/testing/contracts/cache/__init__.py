"""The contract of the cache."""

from inventory_es.testing.contracts.cache.contract import CacheContract

__all__ = ["CacheContract"]
