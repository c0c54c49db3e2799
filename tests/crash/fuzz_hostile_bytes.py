"""Coverage-guided fuzzing of the file store's recovery. To run it: ``pip install atheris``, then

    python -m tests.crash.fuzz_hostile_bytes damaged_bytes -max_total_time=600

The first argument names a test of :mod:`tests.crash.test_hostile_bytes` without ``test_``. The others go to libFuzzer.
"""

import importlib
import logging
import sys
from typing import Any


def main() -> None:
    """Fuzz until libFuzzer stops."""
    atheris: Any = importlib.import_module("atheris")
    logging.disable()
    with atheris.instrument_imports(include=["inventory_es.adapters.file"]):
        tests: Any = importlib.import_module("tests.crash.test_hostile_bytes")
    fuzzed = getattr(tests, f"test_{sys.argv[1]}").hypothesis.fuzz_one_input
    atheris.Setup([sys.argv[0], *sys.argv[2:]], fuzzed)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
