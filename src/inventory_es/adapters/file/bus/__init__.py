"""The event bus in a folder."""
