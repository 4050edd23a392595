"""One trial: its run, its files, its cost."""
