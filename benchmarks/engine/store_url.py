"""URLs of the stores of one measurement. Uses only the standard library, because the peers' own environments run it too."""

import os
from pathlib import Path

SERVER = "INVENTORY_ES_BENCHMARKS_POSTGRESQL"
"""The environment variable with the URL of a PostgreSQL database, in which each measurement has a schema of its own."""


def url_of(store: str, folder: Path) -> str:
    """Return the URL of a store of a kind in an existing folder; of ``postgresql``, in the schema for this folder."""
    if store == "postgresql":
        return f"{os.environ[SERVER]}?schema={schema_of(folder)}"
    return {"memory": "memory:", "file": f"file:{folder / 'stock'}", "sqlite": f"sqlite:{folder / 'stock.db'}"}[store]


def schema_of(folder: Path) -> str:
    """Return the name of the schema for a folder."""
    return f"at_{folder.parent.name}_{folder.name}"
