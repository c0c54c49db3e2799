"""adapters/system."""
