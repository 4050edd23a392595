"""MLflow. No other package imports it.

mlflow_store.py  the tracking store: one run for each trial, written by the driver and read by reports
content.py       the params, metrics and tags of a run
view.py          the view of an ablation grid on MLflow's page

The settings below must be made before the first import of MLflow.
"""

import logging
import os

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # MLflow's default would hang for minutes
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")  # seconds
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("PGCONNECT_TIMEOUT", "5")  # seconds
for noisy in ("alembic", "mlflow.store.db.utils"):
    logging.getLogger(noisy).setLevel(logging.WARNING)
