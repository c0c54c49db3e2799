"""Our own contender: the same cases, through the front door."""
