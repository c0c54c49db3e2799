"""Links to the package's own names, wherever a name is defined or documented."""

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """Return a link to the one documented object with this last name."""
    if node.get("refdomain") != "py" or not isinstance(env.domains["py"], PythonDomain):
        return None
    target = node["reftarget"]
    tail = (
        ".".join(target.split(".")[-2:]) if node.get("reftype") in {"meth", "attr"} else target.split(".")[-1]
    )
    entries = env.domains["py"].objects.items()
    found = {(entry.docname, entry.node_id) for name, entry in entries if f".{name}".endswith(f".{tail}")}
    if len(found) != 1:
        return None
    ((page, anchor),) = found
    return make_refnode(app.builder, node["refdoc"], page, anchor, content, target)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the resolver."""
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
