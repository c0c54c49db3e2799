"""Retry and circuit breaker: decorators of any port, with the same protocol out as in."""

from inventory_es.application.guards.circuit_breaker import BreakerState, CircuitBreaker
from inventory_es.application.guards.guard import Guard, GuardedPort
from inventory_es.application.guards.guarded import guarded
from inventory_es.application.guards.retry import Retry

__all__ = ["BreakerState", "CircuitBreaker", "Guard", "GuardedPort", "Retry", "guarded"]
