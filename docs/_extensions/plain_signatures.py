"""Signatures as a caller writes them: ``Purpose.ORDER``, and no ``-> None`` after a class."""

import re
from typing import get_args

from sphinx.application import Sphinx

from inventory_es.commands import Command
from inventory_es.events import Event

ENUM_MEMBER = re.compile(r"<(\w+\.\w+): [^>]+>")
ALIASES = {
    " | ".join(f"~{kind.__module__}.{kind.__name__}" for kind in get_args(alias)): name
    for name, alias in {"Command": Command, "Event": Event}.items()
}


def tidy(
    _app: Sphinx, what: str, _name: str, _obj: object, _options: object, signature: str, answer: str
) -> tuple[str, str] | None:
    """Tidy one signature."""
    if not signature:
        return None
    signature = ENUM_MEMBER.sub(r"\1", signature)
    answer = "" if what in {"class", "exception"} else answer or ""
    for spelled_out, name in ALIASES.items():
        signature, answer = signature.replace(spelled_out, name), answer.replace(spelled_out, name)
    return signature, answer


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the hook."""
    app.connect("autodoc-process-signature", tidy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
