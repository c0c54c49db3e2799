"""URLs of the stores of one measurement."""

from pathlib import Path


def url_of(store: str, folder: Path) -> str:
    """Return the URL of a store of a kind in an existing folder."""
    return {"memory": "memory:", "file": f"file:{folder / 'stock'}", "sqlite": f"sqlite:{folder / 'stock.db'}"}[store]
