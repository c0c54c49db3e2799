"""How fast the engine is: beside the limits of the machine and beside its peers, in one run. ``python -m benchmarks --help``."""
