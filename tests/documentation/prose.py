"""The sentences and words of a page, without its code, its tables and the targets of its links."""

import re
from collections.abc import Iterator
from pathlib import Path

LONGEST = 25
NOT_USED = re.compile(
    r"\b(anew|afresh|for ever|forever|(?:what )?becomes of|what came of|people's files|who(?:so)?ever|whomever|parked|sets? aside|put aside"
    r"|combiner|crowds?|tickets?|warm states?|replay check|walkers?|telling|told|tells?|hands? over|handed over|beside|befalls?"
    r"|(?:takes?|gets?|gives?|its|their) turns?|in turn|glances?|shall|ownership|desks?|bench|stands? in"
    r"|held against|hold against|ready made)\b",
    re.IGNORECASE,
)
FRONT_MATTER = re.compile(r"(?s)\A---\n.*?\n---\n")
FENCE = re.compile(r"(?ms)^(`{3,})[^\n]*\n.*?^\1[ ]*$")
COMMENT = re.compile(r"(?s)<!--.*?-->|<[a-z/][^>]*>")
DIRECTIVE = re.compile(r"(?m)^:{3,}.*$")
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
CODE = re.compile(r"(?:\{[\w:-]+\})?`+[^`]*`+")
COMMAND = re.compile(r"(?m)^### [a-z-]+$")
SENTENCE_END = re.compile(r"(?<=[.!?:])[\"')*_]*\s+(?=[\"'(*_]*[A-Z0-9])")
ITEM = re.compile(r"\s*(?:[-*]|\d+\.|:)\s+")
WORD = re.compile(r"\S*\w\S*")


def plain(text: str) -> str:
    """Return a page without its code; a code span and a link without a text count as one word."""
    for pattern in (FRONT_MATTER, FENCE, COMMENT, DIRECTIVE, COMMAND):
        text = pattern.sub("\n", text)
    return CODE.sub("Code", LINK.sub(lambda link: link[1] or "Page", text))


def paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs and list items of a page, each as one line; headings and tables are left out."""
    gathered: list[str] = []
    for line in [*plain(text).splitlines(), ""]:
        item = ITEM.match(line)
        is_prose = bool(line.strip()) and not line.startswith(("#", "|", "    "))
        if gathered and (item or not is_prose):
            yield " ".join(gathered)
            gathered = []
        if is_prose:
            gathered.append(line[item.end() :] if item else line.strip())


def long_sentences(text: str) -> list[str]:
    """Return the sentences of more than 25 words."""
    sentences = (sentence for paragraph in paragraphs(text) for sentence in SENTENCE_END.split(paragraph))
    return [sentence for sentence in sentences if len(WORD.findall(sentence)) > LONGEST]


def words_not_used(text: str) -> list[str]:
    """Return each word of the list with its line; headings and tables are searched too."""
    return [f"{match[0]}: {line.strip()}" for line in plain(text).splitlines() for match in NOT_USED.finditer(line)]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
