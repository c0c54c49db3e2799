"""adapters/file."""
