"""Whole applications in virtual time: nodes, a store, a bus, a cache, and everything that befalls them, from one seed."""

from inventory_es.testing.simulation.breach import BreachError
from inventory_es.testing.simulation.consumer import Consumer
from inventory_es.testing.simulation.plan import Disturbance, Plan
from inventory_es.testing.simulation.simulation import Simulation, simulate
from inventory_es.testing.simulation.subject import Subject
from inventory_es.testing.simulation.world import Counts

__all__ = ["BreachError", "Consumer", "Counts", "Disturbance", "Plan", "Simulation", "Subject", "simulate"]
