"""Processes over many inventories: pure deciders, each process with a stream of its own."""
