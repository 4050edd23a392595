"""Sweeps on Ray, and only here."""
