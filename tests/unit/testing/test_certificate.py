"""The page of ``check --html``: well-formed, whole, escaped, and without anything from elsewhere."""

import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from inventory_es import __version__
from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.ports import EventStore
from inventory_es.testing import EventStoreContract, Site
from inventory_es.testing.__main__ import main
from inventory_es.testing.contracts.core.runner import Result, Verdict, cases_of, run
from inventory_es.testing.contracts.report.certificate import certificate
from inventory_es.testing.promise import Promise
from tests.contract.mutants.mutant import StoreMutants
from tests.contract.mutants.writing_mutants import OffByOne
from tests.contract.stores.plain_store import PlainStreams

AT = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
HOSTILE = """<script src="//evil.example">&</script>'"\x00\x1b[31m\u202e\ud800]]>--><b>"""


class MemoryContract(EventStoreContract):
    seeds: Sequence[int] | None = (0,)

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        async with MemoryEventStore() as store:
            yield store


class OffByOneContract(StoreMutants):
    adapter: type[PlainStreams] = OffByOne
    seeds: Sequence[int] | None = (0,)
    backends: Sequence[str] = ("asyncio",)


class Hostile(MemoryContract):
    kind = HOSTILE

    @property
    def address(self) -> str:
        return HOSTILE


def tree(page: str) -> ET.Element:
    return ET.fromstring(page.replace("<!DOCTYPE html>", ""))


def texts(page: str, path: str) -> list[str]:
    return ["".join(found.itertext()) for found in tree(page).iterfind(f".//{path}")]


@pytest.fixture(scope="module")
def good() -> str:
    contract = MemoryContract()
    return certificate(contract, list(run(contract)), at=AT, is_whole=True)


@pytest.fixture(scope="module")
def broken() -> str:
    contract = OffByOneContract()
    contract.known_failures = {"ES-08": "<reasons>"}
    only = {"ES-01", "ES-02", "ES-04", "ES-08", "ES-60"}
    return certificate(contract, list(run(contract, only)), at=AT, is_whole=False)


@pytest.fixture(scope="module")
def hostile() -> str:
    contract = Hostile()
    results = list(run(contract, {"ES-01"}))
    assert contract.last_run is not None
    contract.last_run.adapter = f"{HOSTILE} (declared: {HOSTILE})"
    contract.last_run.declared = {HOSTILE: HOSTILE}
    verdicts: tuple[Verdict, ...] = ("broken", "known failure", "not tried", "not declared")
    results += [Result(Promise(f"X-{number}{HOSTILE}", HOSTILE, 1), verdict, HOSTILE, 0.1) for number, verdict in enumerate(verdicts)]
    return certificate(contract, results, at=AT, is_whole=True)


PAGES: list[Any] = ["good", "broken", "hostile"]


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_well_formed(name: str, request: pytest.FixtureRequest) -> None:
    page: str = request.getfixturevalue(name)
    page.encode()
    html = tree(page)
    assert (html.tag, html.get("lang")) == ("html", "en")
    ids = [element.get("id") for element in html.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert {element.get("aria-labelledby") for element in html.iter("section")} <= set(ids)


@pytest.mark.parametrize("name", PAGES)
def test_nothing_comes_from_elsewhere(name: str, request: pytest.FixtureRequest) -> None:
    page: str = request.getfixturevalue(name)
    html = tree(page)
    assert {element.tag for element in html.iter()}.isdisjoint({"script", "link", "img", "iframe", "object", "a", "base", "form"})
    assert not any(name in {"src", "href", "srcset", "data", "action"} for element in html.iter() for name in element.attrib)
    assert not re.search(r"url\(|@import|https?:", "".join(texts(page, "style")))
    assert """default-src 'none'; style-src 'unsafe-inline'""" in page


def test_each_promise_stands_there_once(good: str) -> None:
    promises = Counter({promise.id for promise, _ in cases_of(MemoryContract)})
    assert Counter(texts(good, "h3")) == promises
    sentences = {promise.sentence for promise, _ in cases_of(MemoryContract)}
    shown = Counter(texts(good, "ul/li/div/p"))
    assert {shown[sentence] for sentence in sentences} == {1}


def test_a_promise_stands_under_the_worst_verdict_of_its_cases(broken: str) -> None:
    by_line = {line: texts(broken, f"section[@aria-labelledby='{line}']//h3") for line in ("broken", "known", "kept", "undeclared")}
    assert by_line == {"broken": ["ES-04"], "known": ["ES-08"], "kept": ["ES-01", "ES-02"], "undeclared": ["ES-60"]}
    (report,) = texts(broken, "pre")
    assert report.startswith("store     OffByOne")
    assert "two writers were told that the same version is theirs" in report
    assert "Known failure: <reasons>" in texts(broken, "p[@class='note']")


def test_the_head_says_how_it_ended(good: str, broken: str) -> None:
    assert texts(good, "h1") == ["MemoryEventStore"]
    assert texts(good, "header/p[@class='meaning']") == [
        "Every promise that the adapter's declarations call for is kept. Not tried for want of a hook: 4 promises."
    ]
    assert texts(broken, "header/p[@class='meaning']") == ["1 promise is broken. Asked for: 5 promises of the port, not all of them."]
    assert [" ".join(text.split()) for text in texts(broken, "header/ul/li")] == [
        "1 ✗ broken", "1 ! known failure", "2 ✓ kept", "1 – not declared",
    ]  # fmt: skip


def test_versions_date_seeds_and_declarations_are_shown(good: str) -> None:
    facts = dict(zip(texts(good, "dt"), texts(good, "dd"), strict=True))
    assert facts["Adapter"] == "inventory_es.adapters.memory.event_store.MemoryEventStore"
    assert facts["Version"] == __version__
    assert facts["Date"] == "2026-01-05 09:30 UTC"
    assert facts["Schedules"] == "0"
    assert facts["Event loops"] == "asyncio tried · trio tried"
    assert facts["Libraries"].startswith(f"inventory_es {__version__}, anyio ")
    assert facts["Repeat"].endswith("tests/unit/testing/test_certificate.py:MemoryContract")
    assert [texts(good, "tbody/tr/th")[0], texts(good, "tbody/tr/td")[0]] == ["durability", "none"]


def test_hostile_texts_are_shown_and_not_obeyed(hostile: str) -> None:
    shown = HOSTILE.replace("\x00", "\\x00").replace("\x1b", "\\x1b").replace("\u202e", "\\u202e").replace("\ud800", "\\ud800")
    assert texts(hostile, "h1") == [shown]
    assert texts(hostile, "tbody/tr/th") == [shown]
    assert texts(hostile, "pre") == [shown]
    assert hostile.count("<script") == 0
    assert tree(hostile).find(".//b[.='']") is None


def test_check_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "certificate.html"
    address = "tests/unit/testing/test_certificate.py:MemoryContract"
    assert main(["check", address, "--only", "ES-01", "--html", str(file), "--times"]) == 0
    assert texts(file.read_text(encoding="utf-8"), "h3") == ["ES-01"]
    assert re.search(r"  seconds  promise\n +\d+\.\d\d  ES-01\n", capsys.readouterr().out)


def test_a_folder_that_is_not_there_is_told_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address = "tests/unit/testing/test_certificate.py:MemoryContract"
    assert main(["check", address, "--html", str(tmp_path / "no" / "page.html")]) == 2
    told = capsys.readouterr()
    assert told.err == f"error: no folder {tmp_path / 'no'} for page.html\n"
    assert not told.out
