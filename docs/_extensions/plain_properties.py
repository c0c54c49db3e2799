"""Docstrings of properties as prose, and of unions as their members.

Napoleon would take the text before a colon for a type, and a union has the docstring of Python's own class.
"""

from typing import get_args

from sphinx.application import Sphinx


def keep_as_prose(_app: Sphinx, what: str, _name: str, obj: object, _options: object, lines: list[str]) -> None:
    """Put an escaped line end first, where napoleon expects a type. It prints nothing."""
    if what in {"property", "attribute"} and lines:
        lines.insert(0, "\\")
    if what == "data" and lines and lines[0].startswith("Represent a PEP 604 union type"):
        lines[:] = ["Any of " + ", ".join(f"``{member.__name__}``" for member in get_args(obj)) + "."]


def setup(app: Sphinx) -> dict[str, bool]:
    """Run before napoleon."""
    app.connect("autodoc-process-docstring", keep_as_prose, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
