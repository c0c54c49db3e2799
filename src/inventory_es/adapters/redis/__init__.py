"""A cache on Redis or Valkey. Needs the extra ``redis``."""

from inventory_es.adapters.redis.cache import RedisCache, open_cache, open_redis_cache

__all__ = ["RedisCache", "open_cache", "open_redis_cache"]
