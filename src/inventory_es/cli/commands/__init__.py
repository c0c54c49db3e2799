"""The commands, one a module; each has its ``command``."""
