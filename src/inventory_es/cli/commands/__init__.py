"""The commands, grouped by what they work on. Each is a function of its name."""
