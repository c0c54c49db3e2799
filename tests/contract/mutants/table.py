"""The table of mutants and promises, as the docs show it."""

from pathlib import Path

from tests.contract.mutants.all_mutants import MUTANTS
from tests.contract.mutants.file_mutants import FILE_MUTANTS, FileMutant
from tests.contract.mutants.mutant import Mutant
from tests.crash.mutants import MUTANTS as RECOVERY_MUTANTS

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "mutants.md"

_HEAD = """# Mutants

How good is a test kit? It is as good as what it rejects. Here are {total} adapters that are deliberately broken, each one step away
from a good one, and what rejects each: the promise that was meant to, or for recovery the kind of crash.
By port: {by_port}.

A test runs every one of them; another holds that this page is current. It is written by `python -m tests.contract.mutants`.
"""


def table() -> str:
    """Return the whole page."""
    mutants: list[Mutant | FileMutant] = [*MUTANTS, *FILE_MUTANTS]
    sections = {
        port: [(mutant.promise_id, mutant.name, mutant.fault) for mutant in mutants if mutant.port == port]
        for port in sorted({mutant.port for mutant in mutants})
    }
    sections["A small journal's recovery"] = [
        (mutant.caught_by, mutant.name, f"{mutant.broken[:1].upper()}{mutant.broken[1:]}.") for mutant in RECOVERY_MUTANTS
    ]
    by_port = ", ".join(f"{port} {len(rows)}" for port, rows in sections.items())
    lines = [_HEAD.format(total=sum(map(len, sections.values())), by_port=by_port)]
    for port, rows in sections.items():
        lines += [f"## {port}", "", "| Rejected by | Mutant | What is wrong with it |", "|---|---|---|"]
        lines += [f"| {promise} | `{name}` | {fault} |" for promise, name, fault in rows]
        lines.append("")
    return "\n".join(lines)
