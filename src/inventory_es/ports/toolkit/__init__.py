"""Parts that adapters share: rules of the ports, pages, waits, and blocking calls."""
