"""Process managers: they drive inventories step by step, or all at once where the store can."""
