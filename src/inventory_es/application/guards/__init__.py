"""Guards around a port: retry and circuit breaker. A guarded port has the same protocol."""

from inventory_es.application.guards.circuit_breaker import BreakerState, CircuitBreaker
from inventory_es.application.guards.guard import Guard, GuardedPort
from inventory_es.application.guards.guarded import guarded
from inventory_es.application.guards.retry import Retry

__all__ = ["BreakerState", "CircuitBreaker", "Guard", "GuardedPort", "Retry", "guarded"]
