"""Events as strict JSON: a closed registry, upcasters, and the codec that the command side and every reader share."""

from inventory_es.adapters.serialization.codec import JsonEventCodec
from inventory_es.adapters.serialization.plain_form import PayloadSeal, default_converter
from inventory_es.adapters.serialization.registry import EventKind, EventRegistry, Upcaster, default_registry
from inventory_es.adapters.serialization.schemas import asyncapi_document, event_schemas

__all__ = [
    "EventKind",
    "EventRegistry",
    "JsonEventCodec",
    "PayloadSeal",
    "Upcaster",
    "asyncapi_document",
    "default_converter",
    "default_registry",
    "event_schemas",
]
