"""The directive ``{package-tree}``: the packages, each with the first sentence of its docstring."""

import ast
import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

SOURCE = Path(__file__).parents[2] / "src" / "inventory_es"
NOT_SHOWN = {"__main__"}
INDENT = "    "
ROLE = re.compile(r":\w+:`~?([^`]+)`")


class PackageTree(SphinxDirective):
    """``{package-tree}``: the modules at the top and every package, as a table of two columns."""

    def run(self) -> list[nodes.Node]:
        """Return the table as nodes."""
        group = nodes.tgroup("", *[nodes.colspec(colwidth=width) for width in (3, 7)], cols=2)
        group += nodes.tbody("", *[_row(path) for path in rooms()])
        return [nodes.table("", group, classes=["package-tree"])]


def rooms() -> list[Path]:
    """Return the modules at the top of the package, then every package and adapter, parents before children."""
    modules = sorted(path for path in SOURCE.glob("*.py") if path.stem not in NOT_SHOWN)
    packages = [path.parent for path in SOURCE.glob("*/**/__init__.py")]
    adapters = [path for path in SOURCE.glob("adapters/*.py") if path.stem != "__init__"]
    return [*modules, *sorted([*packages, *adapters], key=lambda path: path.with_suffix("").parts)]


def _row(path: Path) -> nodes.row:
    parts = path.relative_to(SOURCE).parts
    name = f"{INDENT * (len(parts) - 1)}{parts[-1]}{'/' if path.is_dir() else ''}"
    source = path / "__init__.py" if path.is_dir() else path
    cells = (nodes.literal(name, name), nodes.Text(summary(source)))
    return nodes.row("", *[nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells])


def summary(source: Path) -> str:
    """Return the first sentence of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s", ROLE.sub(r"\1", paragraph).replace("``", ""))[0]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("package-tree", PackageTree)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
