"""Sweeps on Ray. No other package imports Ray.

sweep.py           the driver: Ray Tune runs a table's unfinished trials
progress.py        the driver's bookkeeping: result files in, MLflow and status lines out
status.py          how many trials are done, running and failed, and the time left
cluster.py         Ray on this machine or at RAY_ADDRESS, checked before it starts
workers.py         the function that Tune runs for each trial
nodes.py           whether the nodes run the driver's code and can make the models
train_group.py     the Ray Train workers that train one trial together
rendezvous.py      the address at which these workers meet
rollout_actors.py  parallel actors that roll out episodes
profile.py         the resources of a trial, and how many trials fit on a cluster
place.py           the driver's DMM_HOME and working directory, for workers elsewhere
submit.py          a sweep as a Ray job on a shared cluster
sync.py            a table's results to a new tracking server

The setting below must be made before the first import of Ray.
"""

import os

if (os.environ.get("RAY_ADDRESS") or "local") == "local":
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # our own Ray listens on loopback only
