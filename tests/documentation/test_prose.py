"""The pages are written in plain technical English: short sentences, and no words of the list."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.figures import figure
from tests.documentation.prose import long_sentences, plain, read, words_not_used

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GENERATED = {DOCS / "reference" / name for name in ("promises.md", "mutants.md", "cli.md")} | {
    DOCS / "benchmarks" / name for name in ("results.md", "processes.md")
}
PAGES = [ROOT / "README.md", *(path for path in sorted(DOCS.rglob("*.md")) if "_build" not in path.parts and path not in GENERATED)]
TERM = re.compile(r"(?m)^(\S.*)\n: ")
MEASURED = {
    "inventory_es, file": "file, asyncio",
    "inventory_es, SQLite": "SQLite, asyncio",
    "umadb server, state kept, a lock per product": "umadb server, state kept, a lock a product",
    "eventsourcing, SQLite, its cache, a lock per product": "eventsourcing, SQLite, its cache, a lock a product",
}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_sentence_has_at_most_25_words(page: Path) -> None:
    assert long_sentences(read(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_uses_no_word_of_the_list(page: Path) -> None:
    assert words_not_used(read(page)) == []


def test_the_check_finds_long_sentences_and_words() -> None:
    words = " ".join(["word"] * 26)
    assert long_sentences(f"Short one. {words.capitalize()}.\n\n| {words} |\n") == [f"{words.capitalize()}."]
    assert long_sentences(f"```text\n{words}\n```\n- {words[:40]}\n- {words[:40]}\n") == []
    assert words_not_used("It is made anew, `parked` and [told](told.md).") == [
        "anew: It is made anew, Code and told.",
        "told: It is made anew, Code and told.",
    ]
    assert words_not_used("## For ever\n") == ["For ever: ## For ever"]


def test_the_glossary_is_sorted_and_defines_a_term_once() -> None:
    terms = [term.lower() for term in TERM.findall(read(DOCS / "reference" / "glossary.md"))]
    assert len(terms) > 50
    assert terms == sorted(set(terms))


@pytest.mark.parametrize("term", TERM.findall(read(DOCS / "reference" / "glossary.md")))
def test_a_term_of_the_glossary_is_used(term: str) -> None:
    pages = [plain(read(page)).lower() for page in PAGES if page.name != "glossary.md"]
    for word in term.lower().split(", "):
        assert any(word in page for page in pages), f"no page says {word!r}"


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "index.md"], ids=name)
def test_the_figures_of_the_hot_product_are_those_of_the_last_run(page: Path) -> None:
    found = json.loads(read(DOCS / "benchmarks" / "results.json"))
    shown = {label: int(number.replace(",", "")) for label, number in re.findall(r"(?m)^\| (.+?) \| ([\d,]+) \|$", read(page))}
    measured = {label: figure(found, contender, "W3 64") or 0.0 for label, contender in MEASURED.items()}
    assert shown == {label: round(float(f"{rate:.3g}")) for label, rate in measured.items()}
