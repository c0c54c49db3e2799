"""The runner of a documentation page.

Every ``python`` block of a page runs, from the top of the page down, in one namespace and in an empty folder. A block that begins with
the comment ``# name.py`` is saved under that name instead. An ``output`` block must equal the output since the previous one.

A ``console`` block is a session. A shell runs each line after ``$``, and the lines after it must be its output. A line ``...`` stands
for any lines, and ``…`` for anything within a line. A ``sh`` block is for the reader alone.
"""

import io
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

from sybil import Document, Example
from sybil.document import PythonDocStringDocument
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.myst import CodeBlockParser
from sybil.parsers.rest import CodeBlockParser as RestCodeBlockParser
from sybil.parsers.rest import DocTestParser

from inventory_es import engine_thread
from inventory_es.sync import engine as direct_engine

PATIENCE = 120
TRANSCRIPT = "_transcript"
FILE_NAME = re.compile(r"# (\w+\.py)\n")

_run_block = PythonEvaluator()


def run_page(path: Path) -> int:
    """Run every example of a page in the current folder, and return their number."""
    parsers = (CodeBlockParser("python", run_python), CodeBlockParser("output", compare_output), CodeBlockParser("console", run_session))
    return run_examples(Document.parse(str(path), *parsers))


def run_docstrings(path: Path) -> int:
    """Run every example in the docstrings of a source file, and return their number."""
    return run_examples(PythonDocStringDocument.parse(str(path), DocTestParser(), RestCodeBlockParser("python", run_python)))


def run_examples(document: Document) -> int:
    """Run the examples of a document in order, in one namespace."""
    document.namespace |= {"__name__": "page", TRANSCRIPT: io.StringIO()}
    examples = list(document.examples())
    try:
        for example in examples:
            example.evaluate()
    finally:
        for engines in (direct_engine, engine_thread):
            engines.close_all()  # as the end of an interpreter does: a page may leave a service open
        for left in document.namespace.values():
            if isinstance(left, subprocess.Popen):  # a page that failed leaves its server
                left.kill()
                left.wait()
    return len(examples)


def run_python(example: Example) -> None:
    """Run a ``python`` block and keep its output, or save it if it begins with the name of a file."""
    if named := FILE_NAME.match(str(example.parsed)):
        Path(named[1]).write_text(str(example.parsed), encoding="utf-8")
        return
    with redirect_stdout(example.document.namespace[TRANSCRIPT]):
        _run_block(example)


def compare_output(example: Example) -> None:
    """Compare an ``output`` block with the output since the previous one."""
    transcript = example.document.namespace[TRANSCRIPT]
    check_output(example, str(example.parsed), transcript.getvalue())
    transcript.seek(0)
    transcript.truncate()


def run_session(example: Example) -> None:
    """Run the commands of a ``console`` block, one after the other, and compare their outputs."""
    for command, expected in sessions(str(example.parsed)):
        run = subprocess.run(
            ["bash", "-c", command],
            env=shell_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        check_output(example, expected, run.stdout)


def sessions(block: str) -> list[tuple[str, str]]:
    """Return the commands of a session, each with the output that the page shows."""
    found: list[tuple[str, str]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif found[-1][0].endswith("\\"):
            found[-1] = (f"{found[-1][0]}\n{line}", "")
        else:
            command, expected = found[-1]
            found[-1] = (command, f"{expected}{line}\n")
    return found


def check_output(example: Example, expected: str, printed: str) -> None:
    """Compare two texts, where a line ``...`` stands for any lines, and ``…`` for anything within one.

    Raises:
        AssertionError: they differ; it says where on which page.
    """
    pieces = [re.escape(piece.strip("\n")).replace("…", ".*") for piece in re.split(r"(?m)^\.\.\.$", tidy(expected))]
    if not re.fullmatch(r"(?s:.*)".join(pieces), tidy(printed)):
        msg = f"{example.path}:{example.line} shows\n{expected}\nbut this was printed:\n{printed}"
        raise AssertionError(msg)


def tidy(text: str) -> str:
    """Return a text without blanks around it and at line ends."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def shell_environment() -> dict[str, str]:
    """Return the environment of a reader who has installed the package, with a plain terminal of 100 columns."""
    scripts = str(Path(sys.executable).parent)
    database = {name: os.environ[name] for name in ("DATABASE_URL",) if name in os.environ}
    plain = {"HOME": os.environ.get("HOME", "/"), "COLUMNS": "100", "NO_COLOR": "1"}
    return {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", **plain, **database}
