"""MLflow. No other package imports it.

mlflow_store.py  the tracking store: one run for each trial, written by the driver and read by reports
database.py      the database behind it: how it is made, checked, and moved with its folder
content.py       the params, metrics and tags of a run
inputs.py        the inputs of a run: the data of a trial, the table of a report
places.py        the place of results that a command is given
view.py          the view of a table's runs on MLflow's page

The settings below must be made before the first import of MLflow.
"""

import logging
import os

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # MLflow's default would hang for minutes
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")  # seconds
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("PGCONNECT_TIMEOUT", "5")  # seconds
logging.getLogger("alembic").setLevel(logging.WARNING)
logging.getLogger("mlflow.store.db.utils").setLevel(
    logging.CRITICAL
)  # errors are raised too, so tracebacks in the log would repeat them
