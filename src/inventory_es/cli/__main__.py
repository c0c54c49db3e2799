"""Entry point of the command line."""

import sys
from importlib import import_module

from inventory_es.cli.interruptions import end_at_once

EXTRA = "pip install 'inventory_es[cli]'"


def main() -> None:
    """Run one command and end the process with its exit code."""
    end_at_once()
    try:
        for needed in ("click", "rich"):
            import_module(needed)
    except ModuleNotFoundError as missing:
        sys.stderr.write(f"inventory-es: {missing.name} is not installed, and the command line needs it: {EXTRA}\n")
        sys.exit(2)
    from inventory_es.cli.app import run  # noqa: PLC0415  # only now that click is known to be there

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
