"""dmm: a benchmark service for offline-RL sequence models. The protocol is a value, the model is a file, the table is a file."""

__version__ = "0.1.0"
