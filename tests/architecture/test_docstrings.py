"""Docstrings in plain English: a verb or a noun first (ruff checks the verb), and short sentences in words of the field."""

import ast
import re
from collections.abc import Iterator
from functools import cache

from tests.architecture.sources import name_of, source_files

LONGEST = 25
QUESTIONS = {"What", "Whether", "How", "Who", "Whose", "Of", "It", "That", "Those", "Tell"}
NOT_USED = re.compile(r"\b(anew|for ever|what becomes of|people's files|whoever|whomever)\b", re.IGNORECASE)
SECTION = re.compile(r"^\s*(Args|Raises|Returns|Yields|Attributes|Examples?|Note):\s*$")
ITEM = re.compile(r"^\s+\*{0,2}\w[\w., *]*: |^\s*(?:[-*]|\d+\.) ")
ENTRY = re.compile(r"^\s+\*{0,2}\w[\w., *]*: ")
END = re.compile(r"(?<=[.!?])[\"')]?\s+(?=[A-Z`:\"'(])")


@cache
def docstrings() -> list[tuple[str, str]]:
    """Return every docstring of the package, with the place where it is."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
    return [
        (f"{name_of(path)}:{getattr(node, 'lineno', 1)}", text)
        for path in source_files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, kinds) and (text := ast.get_docstring(node))
    ]


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a docstring. Each argument, error and item of a list begins another one."""
    paragraph: list[str] = []
    for line in [*text.splitlines(), ""]:
        is_code = line.strip().startswith((">>>", "..."))
        if not line.strip() or is_code or SECTION.match(line) or ITEM.match(line):
            yield from END.split(" ".join(paragraph)) if paragraph else ()
            paragraph = []
        if line.strip() and not is_code and not SECTION.match(line):
            paragraph.append(ENTRY.sub("", line).strip())


def test_sentences_are_found() -> None:
    text = "Return it. Then stop.\n\nArgs:\n    one: the first.\n    two: the second\n        of both.\n\n- an item\n- another"
    assert list(sentences(text)) == ["Return it.", "Then stop.", "the first.", "the second of both.", "- an item", "- another"]


def test_no_docstring_begins_with_a_question_word() -> None:
    assert [place for place, text in docstrings() if text.split(None, 1)[0].strip(",.:") in QUESTIONS] == []


def test_sentences_are_short() -> None:
    found = [(place, one) for place, text in docstrings() for one in sentences(text) if len(one.split()) > LONGEST]
    assert found == []


def test_words_are_those_of_the_field() -> None:
    assert [(place, found) for place, text in docstrings() if (found := NOT_USED.findall(text))] == []
