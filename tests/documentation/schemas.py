"""The schemas of the reference: ``python -m tests.documentation.schemas`` writes them again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inventory_es.adapters.serialization import asyncapi_document, event_schemas

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def files() -> Mapping[Path, str]:
    """Return the text of every file, by path."""
    documents: dict[str, Any] = {f"schemas/{name}.json": schema for name, schema in event_schemas().items()}
    documents["asyncapi.json"] = asyncapi_document()
    return {REFERENCE / name: f"{json.dumps(document, indent=2, ensure_ascii=False)}\n" for name, document in documents.items()}


if __name__ == "__main__":
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
