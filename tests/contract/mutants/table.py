"""The table of mutants and promises, as the docs show it."""

from collections import Counter
from pathlib import Path

from tests.contract.mutants.all_mutants import MUTANTS

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "mutants.md"

_HEAD = """# Mutants

How good is a test kit? It is as good as what it rejects. Here are {total} adapters that are deliberately broken, each one step away
from a good one, and the promise that rejects each ({by_port}). A test runs every one of them against its
promise; another holds that this page is current. It is written by `python -m tests.contract.mutants`.
"""


def table() -> str:
    """The whole page."""
    counts = Counter(mutant.port for mutant in MUTANTS)
    by_port = ", ".join(f"{port} {count}" for port, count in sorted(counts.items()))
    lines = [_HEAD.format(total=len(MUTANTS), by_port=by_port)]
    for port in sorted(counts):
        lines += [f"## {port}", "", "| Promise | Mutant | What is wrong with it |", "|---|---|---|"]
        lines += [f"| {m.promise_id} | `{m.name}` | {m.fault} |" for m in MUTANTS if m.port == port]
        lines.append("")
    return "\n".join(lines)
