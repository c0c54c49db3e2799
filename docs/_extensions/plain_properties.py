"""Docstrings of properties as prose: napoleon would take the text before a colon for a type."""

from sphinx.application import Sphinx


def keep_as_prose(
    _app: Sphinx, what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Put an escaped line end first, where napoleon expects a type. It prints nothing."""
    if what in {"property", "attribute"} and lines:
        lines.insert(0, "\\")


def setup(app: Sphinx) -> dict[str, bool]:
    """Run before napoleon."""
    app.connect("autodoc-process-docstring", keep_as_prose, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
