"""From finished trials to tables."""
