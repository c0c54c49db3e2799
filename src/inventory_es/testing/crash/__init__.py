"""A simulated file system that loses power, and the explorer that drives a store on it through every crash."""
