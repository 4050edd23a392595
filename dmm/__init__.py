"""dmm: a benchmark service for offline-RL sequence models: the protocol is a value, the model and the table are files."""

__version__ = "0.1.0"
