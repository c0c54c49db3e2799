"""The certificate: one page with the results of a contract, for the adapter's author to publish: ``check --html FILE``.

The page is self-contained: no script, font, image or style from elsewhere. Every text that comes from the adapter is escaped.
"""

import html
import platform
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from textwrap import dedent

import attrs

from inventory_es.testing.contracts.core.contract import Contract, Run
from inventory_es.testing.contracts.core.runner import Result, Verdict
from inventory_es.testing.contracts.report import matrix
from inventory_es.testing.contracts.report.certificate_style import STYLE
from inventory_es.testing.optional import not_installed

_ORDER: Mapping[Verdict, tuple[str, str, str]] = {
    "broken": ("broken", "✗", "Broken"),
    "known failure": ("known", "!", "Known failures"),
    "not tried": ("untried", "?", "Not tried"),
    "kept": ("kept", "✓", "Kept"),
    "not declared": ("undeclared", "–", "Not declared"),
}
"""By verdict, the worst first: its CSS class, its mark and the heading of its section. A promise has the worst verdict of its cases."""

_ABOUT: Mapping[Verdict, str] = {
    "broken": "The adapter does what its port forbids. Each report can be repeated by its last line.",
    "known failure": "They fail, and the adapter's author says so.",
    "not tried": "What their cases need was not there.",
    "kept": "Each case ran on every event loop that was tried, under each of the schedules that stand beside it.",
    "not declared": "The adapter does not declare what their cases need, and was held to that.",
}


@attrs.frozen
class _Kept:
    """One promise with the results of its cases.

    Attributes:
        id: the id of the promise.
        results: the results of its cases, in their order.
        verdict: the worst of them.
    """

    id: str
    results: Sequence[Result]

    @property
    def verdict(self) -> Verdict:
        return next(verdict for verdict in _ORDER if any(result.verdict == verdict for result in self.results))

    @property
    def needs_hook(self) -> bool:
        return all(result.needs_hook for result in self.results if result.verdict == "not tried")


def certificate(contract: Contract, results: Sequence[Result], *, at: datetime, is_whole: bool) -> str:
    """Return the page.

    Args:
        contract: the contract, after its run.
        results: the results of all its cases.
        at: the time of the run; aware.
        is_whole: True if every promise of the port was asked for.
    """
    promises = _by_promise(results)
    run = contract.last_run
    name = run.adapter.partition(" (declared: ")[0] if run is not None else "not opened"
    title = f"{name}: {port_of(contract)} contract"
    outcome, meaning = _outcome(contract, promises, is_whole=is_whole)
    return "\n".join((
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8" />',
        """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'" />""",
        '<meta name="viewport" content="width=device-width, initial-scale=1" />',
        '<meta name="color-scheme" content="light dark" />',
        f"<title>{_text(title)}</title>",
        f"<style>{STYLE}</style>",
        "</head>",
        "<body>",
        f'<header class="{outcome}">',
        f"<p>Contract of the port {_text(port_of(contract))}</p>",
        f"<h1>{_text(name)}</h1>",
        f'<p class="meaning">{_text(meaning)}</p>',
        *_summary(promises),
        "</header>",
        "<main>",
        *_facts(contract, run, results, at),
        *_declared(contract, run, results),
        *(line for verdict in _ORDER for line in _section(contract, verdict, promises)),
        "</main>",
        "<footer>",
        "<p>The kit tries from outside what an adapter declares. It fills no disk and cuts no power.",
        "What is not declared is not relied on.</p>",
        f"<p>Written by inventory_es {_text(_version_of(__name__) or '')}.</p>",
        "</footer>",
        "</body>",
        "</html>",
        "",
    ))  # fmt: skip


def port_of(contract: Contract) -> str:
    """Return the name of the port of a contract."""
    kinds = (kind.__name__ for kind in type(contract).__mro__ if kind.__module__.endswith(".contract") and kind is not Contract)
    return next(name.removesuffix("Contract") for name in kinds if name.endswith("Contract"))


def _by_promise(results: Iterable[Result]) -> list[_Kept]:
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result.promise.id, []).append(result)
    return [_Kept(promise_id, cases) for promise_id, cases in found.items()]


def _outcome(contract: Contract, promises: Sequence[_Kept], *, is_whole: bool) -> tuple[str, str]:
    """Return the class of the page's head, and its summary in a sentence or two."""
    counts = Counter(promise.verdict for promise in promises)
    broken, known = counts["broken"], counts["known failure"]
    hookless = sum(promise.verdict == "not tried" and promise.needs_hook for promise in promises)
    untried = counts["not tried"] - hookless
    part = "" if is_whole else f" Asked for: {_count(len(promises), 'promise')} of the port, not all of them."
    if broken:
        return "broken", f"{_count(broken, 'promise')} {'is' if broken == 1 else 'are'} broken.{part}"
    doubts = [f"{_count(known, 'promise')} known to fail"] if known else []
    doubts += [f"{_count(untried, 'promise')} not tried"] if untried else []
    doubts += [f"not tried on {loop}, which was not installed" for loop in not_installed(contract.backends)]
    if doubts:
        return "known", f"What was tried is kept, with an exception: {', '.join(doubts)}.{part}"
    if not counts["kept"]:
        return "known", f"Nothing was tried.{part}"
    hooks = f" Not tried for want of a hook: {_count(hookless, 'promise')}." if hookless else ""
    return "kept", f"Every promise that the adapter's declarations call for is kept.{hooks}{part}"


def _summary(promises: Sequence[_Kept]) -> Iterator[str]:
    counts = Counter(promise.verdict for promise in promises)
    yield '<ul class="counts">'
    for verdict, (kind, mark, _) in _ORDER.items():
        if counts[verdict]:
            label = f'<b>{counts[verdict]}</b> <span aria-hidden="true">{mark}</span> {verdict}'
            yield f'<li class="{kind}" style="flex-grow: {counts[verdict]}">{label}</li>'
    yield "</ul>"


def _facts(contract: Contract, run: Run | None, results: Sequence[Result], at: datetime) -> Iterator[str]:
    opened = run.opened if run is not None else None
    facts = {
        "Adapter": f"{opened.__module__}.{opened.__qualname__}" if opened is not None else "not opened",
        "Version": (_version_of(opened.__module__) if opened is not None else None) or "not told",
        "Date": f"{at:%Y-%m-%d %H:%M} {at:%Z}",
        "Asked": f"{_count(len({result.promise.id for result in results}), 'promise')} in {_count(len(results), 'case')}, "
        f"{sum(result.seconds for result in results):.0f} s",
        "Event loops": matrix.loops(contract.tried, not_installed(contract.backends)),
        "Schedules": "the plain one (0) and seeded ones" if contract.seeds is None else _numbers(contract.seeds),
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "Libraries": ", ".join(f"{name} {known}" for name in ("inventory_es", "anyio", *contract.tried) if (known := _version_of(name))),
        "Repeat": f"python -m inventory_es.testing check {contract.address}",
    }
    yield '<section aria-labelledby="facts"><h2 id="facts">How it was tried</h2><dl>'
    for name, value in facts.items():
        yield f"<div><dt>{name}</dt><dd>{_text(value)}</dd></div>"
    yield "</dl></section>"


def _declared(contract: Contract, run: Run | None, results: Sequence[Result]) -> Iterator[str]:
    if run is None or not run.declared:
        return
    yield '<section aria-labelledby="declared"><h2 id="declared">What the adapter declares</h2>'
    yield f"<table><caption>Each declaration of the {_text(contract.kind)}, and the promises that hold it to what was observed</caption>"
    yield '<thead><tr><th scope="col">Capability</th><th scope="col">Declared</th><th scope="col">Observed</th></tr></thead><tbody>'
    for name, value, observed in matrix.rows(run.declared, results):
        shown = " ".join(f"<span>{_text(one)}</span>" for one in observed.split(" · "))
        yield f'<tr><th scope="row">{_text(name)}</th><td>{_text(value)}</td><td>{shown}</td></tr>'
    yield "</tbody></table></section>"


def _section(contract: Contract, verdict: Verdict, promises: Sequence[_Kept]) -> Iterator[str]:
    found = [promise for promise in promises if promise.verdict == verdict]
    if not found:
        return
    kind, mark, heading = _ORDER[verdict]
    yield f'<section aria-labelledby="{kind}"><h2 id="{kind}">{heading} <small>{len(found)}</small></h2>'
    yield f'<p>{_ABOUT[verdict]}</p><ul class="promises {kind}">'
    for promise in found:
        sentences = dict.fromkeys(result.promise.sentence for result in promise.results)
        yield f'<li id="{_text(promise.id)}"><span class="mark" aria-hidden="true">{mark}</span><div>'
        yield f"<h3>{_text(promise.id)}</h3>"
        yield from (f"<p>{_text(sentence)}</p>" for sentence in sentences)
        yield from _notes(promise)
        yield f'<p class="tried">{_text(_tried(contract, promise))}</p>'
        yield "</div></li>"
    yield "</ul></section>"


def _notes(promise: _Kept) -> Iterator[str]:
    """Yield the notes of cases that are not kept: reasons, and reports without the promise that stands above them."""
    others = dict.fromkeys((result.verdict, result.detail) for result in promise.results if result.verdict != "kept")
    for verdict, detail in others:
        if verdict == "broken":
            report = dedent(detail.partition("\n")[2]) or detail
            yield f'<pre tabindex="0">{_text(report)}</pre>'
        else:
            yield f'<p class="note">{verdict[:1].upper()}{verdict[1:]}: {_text(detail)}</p>'


def _tried(contract: Contract, promise: _Kept) -> str:
    tried = [result for result in promise.results if result.verdict not in {"not declared", "not tried"}]
    if not tried:
        return _count(len(promise.results), "case")
    most = max(result.promise.seeds for result in tried)
    seeds = contract.seeds if contract.seeds is not None else range(most + 1)
    cases = _count(len(promise.results), "case")
    schedules = f"schedule{'' if len(seeds) == 1 else 's'} {_numbers(seeds)}"
    return f"{cases} · {schedules} · {sum(result.seconds for result in tried):.1f} s"


def _numbers(seeds: Sequence[int]) -> str:
    return str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _version_of(module: str) -> str | None:
    """Return the version of a module's package: its own, or that of its distribution; ``None`` where there is none."""
    package = module.partition(".")[0]
    told = getattr(sys.modules.get(package), "__version__", None)
    if isinstance(told, str):
        return told
    for distribution in packages_distributions().get(package, ()):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None


def _text(text: str) -> str:
    """Escape a text for a page: markup, and each character that is not printed, such as a control or a lone surrogate."""
    shown = "".join(one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode("ascii") for one in text)
    return html.escape(shown)
