"""dmm: a benchmark service for offline-RL sequence models. A protocol is a value, a model and a table are files."""

__version__ = "0.1.0"
