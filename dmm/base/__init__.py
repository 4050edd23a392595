"""What every other package may use: paths, locks, checks of names, provenance."""
