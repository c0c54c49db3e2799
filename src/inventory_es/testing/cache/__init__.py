"""The contract of the cache."""

from inventory_es.testing.cache.contract import CacheContract

__all__ = ["CacheContract"]
