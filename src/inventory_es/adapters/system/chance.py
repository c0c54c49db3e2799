"""Chance from the operating system's generator, for jitter."""

import random

_generator = random.SystemRandom()


def chance() -> float:
    """A number from 0 up to, not including, 1."""
    return _generator.random()
