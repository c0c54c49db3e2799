"""A cache and an event bus on Redis or Valkey. They need the extra ``redis``."""

from inventory_es.adapters.redis.cache import RedisCache, cache_at, open_redis_cache
from inventory_es.adapters.redis.event_bus import RedisEventBus, bus_at, open_redis_event_bus

__all__ = ["RedisCache", "RedisEventBus", "bus_at", "cache_at", "open_redis_cache", "open_redis_event_bus"]
