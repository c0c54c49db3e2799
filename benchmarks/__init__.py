"""Benchmarks of the engine, its peers, and the limits of the machine, in one run. ``python -m benchmarks --help``."""
