"""The followers of the feed: projections, relay, sweeper, and the lease that decides which process runs them."""
