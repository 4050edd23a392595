"""Ray. No other package imports it. The setting below must be made before the first import of Ray."""

import os

if os.environ.get("RAY_ADDRESS", "local") == "local":
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # our own Ray listens on loopback only
