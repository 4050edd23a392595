"""Environments, stepped many at once."""
