"""The event store in a folder."""
