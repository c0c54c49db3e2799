"""Implementations of the ports: in memory, in a folder, in a SQLite file, over blocking drivers, and the stored form."""
