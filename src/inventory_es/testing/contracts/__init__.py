"""The contracts: one room for each port, and what all of them share."""
