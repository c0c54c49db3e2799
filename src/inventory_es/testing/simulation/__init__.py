"""Whole applications in virtual time: nodes, a store, a bus and a cache, with faults, restarts and clock jumps, all from one seed."""

from inventory_es.testing.simulation.clients import Answer
from inventory_es.testing.simulation.plan import Disturbance, Plan
from inventory_es.testing.simulation.simulation import Simulation, simulate
from inventory_es.testing.simulation.subject import Consumer, Row, Subject
from inventory_es.testing.simulation.world import Counts

__all__ = ["Answer", "Consumer", "Counts", "Disturbance", "Plan", "Row", "Simulation", "Subject", "simulate"]
