"""Verification, repair and backup of a store."""
