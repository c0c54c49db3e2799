"""A cache on Redis or Valkey. Needs the extra ``redis``."""

from inventory_es.adapters.redis.cache import RedisCache, cache_at, open_redis_cache

__all__ = ["RedisCache", "cache_at", "open_redis_cache"]
