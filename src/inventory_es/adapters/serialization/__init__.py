"""adapters/serialization."""
