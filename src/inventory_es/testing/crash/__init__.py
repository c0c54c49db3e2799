"""A simulated file system that loses power, and the explorer that drives a store on it through every crash.

For stores that do their work on the :class:`~inventory_es.ports.file_system.FileSystem` port. From the command line:
``python -m inventory_es.testing.crash --store my_package.crash:subject``.
"""

from inventory_es.testing.crash.aftermath import Aftermath, Counts, NotRecoveredError
from inventory_es.testing.crash.disk import Disk
from inventory_es.testing.crash.explorer import FAILURES, CrashModel, CrashViolationError, Explorer, sweep
from inventory_es.testing.crash.power import power_cuts
from inventory_es.testing.crash.simfs import FailNth, Failure, FaultPlan, Primitive, SimFS, StarvedError
from inventory_es.testing.crash.subject import SteppedStore, Subject
from inventory_es.testing.crash.world import OPERATIONS, Program, programs, random_program

__all__ = [
    "FAILURES",
    "OPERATIONS",
    "Aftermath",
    "Counts",
    "CrashModel",
    "CrashViolationError",
    "Disk",
    "Explorer",
    "FailNth",
    "Failure",
    "FaultPlan",
    "NotRecoveredError",
    "Primitive",
    "Program",
    "SimFS",
    "StarvedError",
    "SteppedStore",
    "Subject",
    "power_cuts",
    "programs",
    "random_program",
    "sweep",
]
