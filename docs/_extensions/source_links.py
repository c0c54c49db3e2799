"""The role ``{source}``: a link from a class or a function to its source, which is built with the pages.

``{source}`Lanes.submit``` names a definition in ``inventory_es``, outside of ``sync`` and ``testing``.
``{source}`domain/events.py``` names a file. A name without exactly one definition is a warning, so a page
can't name code that has gone.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.highlighting import PygmentsBridge
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

ROOT = Path(__file__).parents[2] / "src"
PACKAGE = ROOT / "inventory_es"
OTHERS = {"sync", "testing"}
PAGES = "source"
ROLE = re.compile(r"\{source\}`([^`]+)`")
logger = logging.getLogger(__name__)


class Source(SphinxRole):
    """A link to the line of a definition."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the link, or the name alone with a warning."""
        found = places_of(self.text)
        literal = nodes.literal(self.rawtext, self.text)
        if len(found) != 1:
            logger.warning("%d definitions of %s", len(found), self.text, location=self.get_location())
            return [literal], []
        ((path, line),) = found
        address = f"{'../' * self.env.docname.count('/')}{page_of(path)}.html#L{line}"
        link = nodes.reference("", "", literal, internal=True, refuri=address)
        link["reftitle"] = f"{path.relative_to(ROOT)}, line {line}"
        return [link], []


def places_of(name: str) -> list[tuple[Path, int]]:
    """Return where a class, a function or a file is."""
    return [(PACKAGE / name, 1)] if (PACKAGE / name).is_file() else definitions().get(name, [])


@cache
def definitions() -> dict[str, list[tuple[Path, int]]]:
    """Return where each class, function and method is defined, by its name within its module."""
    found: dict[str, list[tuple[Path, int]]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] not in OTHERS:
            for name, line in _names(ast.parse(path.read_text(encoding="utf-8")).body, ""):
                found.setdefault(name, []).append((path, line))
    return found


def _names(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, int]]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{node.name}", node.lineno
        if isinstance(node, ast.ClassDef):
            yield from _names(node.body, f"{prefix}{node.name}.")


def page_of(path: Path) -> str:
    """Return the name of the page with this file's source."""
    return f"{PAGES}/{path.relative_to(ROOT).with_suffix('').as_posix()}"


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield a page for each file that a page links to, with an anchor before each line."""
    pages = [page.read_text(encoding="utf-8") for page in Path(app.srcdir).rglob("*.md")]
    named = {name for page in pages for name in ROLE.findall(page)}
    highlighter = PygmentsBridge("html", "default")
    for path in sorted({path for name in named for path, _ in places_of(name)}):
        html = highlighter.highlight_block(path.read_text(encoding="utf-8"), "python")
        start, _, code = html.partition("<pre>")
        lines = [f'<span id="L{number}"></span>{line}' for number, line in enumerate(code.splitlines(), 1)]
        name = path.relative_to(ROOT).as_posix()
        body = f"<h1 class='source'>{name}</h1>\n{start}<pre>" + "\n".join(lines)
        yield page_of(path), {"title": name, "body": body}, "page.html"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the role and its pages."""
    app.add_role("source", Source())
    app.connect("html-collect-pages", source_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
