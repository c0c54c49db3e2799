"""The directive ``{door-table}``: the public names of a module, each with a sentence and a link."""

import importlib
import inspect
import re
from typing import get_args

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROLE = re.compile(r":\w+:`~?([^`]+)`")


class DoorTable(SphinxDirective):
    """``{door-table} inventory_es``: every name of the module's ``__all__``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table as nodes."""
        module = importlib.import_module(self.arguments[0])
        names = [name for name in module.__all__ if not name.startswith("__")]
        rows = [
            f"| {{py:obj}}`~{module.__name__}.{name}` | {_sentence(getattr(module, name))} |" for name in names
        ]
        lines = ["| Name | What it is |", "|---|---|", *rows]
        parent = nodes.Element()
        self.state.nested_parse(
            StringList(lines, source=self.get_source_info()[0]), self.content_offset, parent
        )
        return list(parent.children)


def _sentence(value: object) -> str:
    if get_args(value):
        return "Any of " + ", ".join(f"`{getattr(member, '__name__', member)}`" for member in get_args(value))
    summary = " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())
    return ROLE.sub(r"`\1`", summary).replace("|", "\\|").replace("``", "`")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("door-table", DoorTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
