"""The followers of the feed: projections, relay, sweeper, and who leads them."""
