"""One trial in this process.

run.py       data, training, evaluation and result, from the last checkpoint to the end
storage.py   the trial's folder: files of result, checkpoints, lock and log
estimate.py  what a trial and a table will cost on this machine
"""
