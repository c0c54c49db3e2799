"""Where the engine's stores of one measurement are."""

from pathlib import Path


def url_of(store: str, folder: Path) -> str:
    """The URL of a store of that kind in a folder, which must be there."""
    return {"memory": "memory:", "file": f"file:{folder / 'stock'}", "sqlite": f"sqlite:{folder / 'stock.db'}"}[store]
