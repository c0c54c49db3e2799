"""Processes over many inventories: pure deciders like the aggregate, each process with a stream of its own."""
