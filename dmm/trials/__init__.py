"""One trial in this process.

run.py          training where weights are missing, then the episodes that are missing
train.py        the training of a trial, from its last checkpoint to its end
weights.py      kept weights, and which updates an evaluation wants
storage.py      the trial's folder: files of results, checkpoints, locks and log
taking_over.py  finished results from elsewhere into DMM_HOME
progress.py     a trial's newest numbers, and `run` with a bar
estimate.py     what a trial and a table will cost on this machine
"""
