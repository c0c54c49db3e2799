"""The command side: the handler, a lane per stream, the kept states, group commit, and sets of commands over several streams."""
