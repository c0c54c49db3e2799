"""Promise ids such as ``ES-41`` in a span of their own, so that a style keeps each on one line."""

import re
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

ID = re.compile(r"\b((?:ES|CA|EB|RM|CK|SN|SIM)-\d+)\b")


class PromiseIds(SphinxPostTransform):
    """Wrap each promise id of a page in an inline node with the class ``promise``."""

    default_priority: ClassVar[int | None] = 900

    def run(self, **_options: Any) -> None:
        """Replace the texts with promise ids, code and titles apart."""
        for text in list(self.document.findall(nodes.Text)):
            parts = ID.split(text.astext())
            if len(parts) > 1 and not isinstance(
                text.parent, nodes.literal | nodes.literal_block | nodes.title
            ):
                pieces = [
                    nodes.inline("", part, classes=["promise"]) if at % 2 else nodes.Text(part)
                    for at, part in enumerate(parts)
                ]
                text.parent.replace(text, [piece for piece in pieces if piece.astext()])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    app.add_post_transform(PromiseIds)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
