"""Bringing a file of orders into an inventory, exactly once. Needs neither a terminal nor the extra ``cli``."""
