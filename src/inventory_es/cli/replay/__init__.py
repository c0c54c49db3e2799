"""Replay of an orders file into an inventory, exactly once. Needs neither a terminal nor the extra ``cli``."""
