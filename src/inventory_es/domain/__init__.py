"""The rules of one inventory: values and functions. No I/O, no clock, no chance."""
