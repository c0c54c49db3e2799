"""The table of mutants and promises, as the docs show it."""

from collections import Counter
from pathlib import Path

from tests.contract.mutants.all_mutants import MUTANTS
from tests.contract.mutants.file_mutants import FILE_MUTANTS, FileMutant
from tests.contract.mutants.mutant import Mutant

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "mutants.md"

_HEAD = """# Mutants

How good is a test kit? It is as good as what it rejects. Here are {total} adapters that are deliberately broken, each one step away
from a good one ({by_port}), and what rejects each: the promise that was meant to, or for recovery the kind of crash. A test runs
every one of them; another holds that this page is current. It is written by `python -m tests.contract.mutants`.
"""


def table() -> str:
    """The whole page."""
    mutants: list[Mutant | FileMutant] = [*MUTANTS, *FILE_MUTANTS]
    counts = Counter(mutant.port for mutant in mutants)
    by_port = ", ".join(f"{port} {count}" for port, count in sorted(counts.items()))
    lines = [_HEAD.format(total=len(mutants), by_port=by_port)]
    for port in sorted(counts):
        lines += [f"## {port}", "", "| Rejected by | Mutant | What is wrong with it |", "|---|---|---|"]
        lines += [f"| {m.promise_id} | `{m.name}` | {m.fault} |" for m in mutants if m.port == port]
        lines.append("")
    return "\n".join(lines)
