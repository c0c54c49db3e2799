"""The configuration of the documentation: built offline, and a warning is an error."""

import sys
from pathlib import Path

from inventory_es import __version__

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "inventory_es"
author = "the authors of inventory_es"
copyright = author  # noqa: A001  # Sphinx reads this name
release = __version__
version = release

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "door_table",
    "error_table",
    "own_names",
    "package_tree",
    "plain_properties",
    "plain_signatures",
    "promise_ids",
    "source_links",
    "state_diagram",
]
source_suffix = {".md": "markdown"}
exclude_patterns = [
    "_build",
    "examples",
    "benchmarks/results.md",
    "benchmarks/processes.md",
    "benchmarks/postgresql.md",
]  # parts of pages
highlight_language = "text"
nitpicky = True
# Names of other projects (there is no network), and ours behind no door, which a signature may name.
nitpick_ignore_regex = [
    (
        r"py:.*",
        r"(anyio|attrs?|cattrs|click|collections|contextlib|datetime|enum|hypothesis|msgspec|os|pathlib|random|sqlite3|types|typing|urllib|uuid)(\..*)?",
    ),
    (r"py:.*", r"(logging|opentelemetry|prometheus_client|psycopg)(\..*)?"),
    (r"py:.*", r"inventory_es\.(adapters|application|telemetry|testing)\.\w+\..*"),
    (r"py:.*", r"(Any|Callable|Enum|Path|Self|UUID|date|datetime|timedelta|optional)"),
    (r"py:.*", r"(.*\.)?[A-Z]|.*\._.*|_.*|.*T_co"),
    (r"py:.*", r"\.\.\.|frozen|default.*"),
]

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
toc_object_entries_show_parents = "hide"

copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"

html_theme = "furo"
html_title = f"inventory_es {release}"
html_static_path = ["_static"]
html_css_files = ["house.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "sidebar_hide_name": False,
    "light_css_variables": {
        "color-brand-primary": "#8a4b16",
        "color-brand-content": "#8a4b16",
        "color-api-name": "#8a4b16",
        "color-api-pre-name": "#8b8378",
        "color-background-secondary": "#faf7f2",
        "color-sidebar-item-background--hover": "#f1e9dd",
        "font-stack": "Inter, system-ui, -apple-system, 'Segoe UI', 'Noto Sans', sans-serif",
        "font-stack--monospace": "'JetBrains Mono', ui-monospace, 'SF Mono', Menlo, Consolas, monospace",
    },
    "dark_css_variables": {
        "color-brand-primary": "#e2a56c",
        "color-brand-content": "#e2a56c",
        "color-api-name": "#e2a56c",
    },
}
pygments_style = "friendly"
pygments_dark_style = "github-dark"
