"""The directive ``{error-table}``: every error that the package raises, read from the classes themselves."""

import inspect
from collections.abc import Iterator

import attrs
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import inventory_es.errors
from inventory_es.errors import InventoryError


class ErrorTable(SphinxDirective):
    """``{error-table} RejectionError``: the errors of one branch, by code."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table as nodes."""
        branch = getattr(inventory_es.errors, self.arguments[0])
        lines = ["| Code and class | When, and with which facts |", "|---|---|", *sorted(_rows(branch))]
        parent = nodes.Element()
        self.state.nested_parse(
            StringList(lines, source=self.get_source_info()[0]), self.content_offset, parent
        )
        return list(parent.children)


def _rows(branch: type[InventoryError]) -> Iterator[str]:
    for name in inventory_es.errors.__all__:
        kind = getattr(inventory_es.errors, name)
        if issubclass(kind, branch) and kind is not branch:
            facts = ", ".join(f"`{field.name}`" for field in attrs.fields(kind)) if attrs.has(kind) else ""
            summary = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
            again = " **Retryable.**" if kind.retryable else ""
            link = f"{{py:class}}`~inventory_es.errors.{name}`"
            yield f"| `{kind.code}` <br> {link} | {summary}{again} <br> {facts} |"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("error-table", ErrorTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
