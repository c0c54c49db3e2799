"""Process managers, which drive inventories step by step, or in one append if the store can."""
