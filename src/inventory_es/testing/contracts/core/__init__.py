"""Shared by the contracts of all ports: the base class, the schedule, the history, and the events of the cases."""
