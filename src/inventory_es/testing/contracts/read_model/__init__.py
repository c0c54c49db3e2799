"""The contract of the read model."""

from inventory_es.testing.contracts.read_model.contract import ReadModelContract

__all__ = ["ReadModelContract"]
