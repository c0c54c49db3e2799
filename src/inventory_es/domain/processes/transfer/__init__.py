"""Transfers between stores: reserved at the source, dispatched, received in parts, with every unit accounted for."""
