"""The command that writes the table of the docs: ``python -m tests.contract.mutants``."""

import sys

from tests.contract.mutants.table import PAGE, table

PAGE.write_text(table(), encoding="utf-8")
sys.stdout.write(f"wrote {PAGE}\n")
