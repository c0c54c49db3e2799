"""Signatures as a caller would write them: ``Purpose.ORDER``, and no ``-> None`` after a class."""

import re

from sphinx.application import Sphinx

ENUM_MEMBER = re.compile(r"<(\w+\.\w+): [^>]+>")


def tidy(
    _app: Sphinx, what: str, _name: str, _obj: object, _options: object, signature: str, answer: str
) -> tuple[str, str] | None:
    """Tidy one signature."""
    if not signature:
        return None
    return ENUM_MEMBER.sub(r"\1", signature), "" if what in {"class", "exception"} else answer


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the hook."""
    app.connect("autodoc-process-signature", tidy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
