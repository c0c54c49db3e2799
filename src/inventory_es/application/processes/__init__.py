"""Process managers: deciders of their own streams, driving inventories step by step, or all at once where the store can."""
