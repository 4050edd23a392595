"""A sweep of many_trials_table.py in this process, by `python measure_sweep.py OUT`: its processor time and memory, as JSON."""

import json
import os
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path

from dmm.sweeps.profile import find_profile
from dmm.sweeps.sweep import sweep
from dmm.tables import find_table

URI = os.environ["MLFLOW_TRACKING_URI"]
began, marks = time.monotonic(), {}


def say(line: str) -> None:
    print(line, flush=True)
    if "done, " in line and "of updates" in line:
        done = int(line.split(": ")[1].split("/")[0])
        marks[done] = [time.monotonic() - began, time.process_time()]


counts = sweep(find_table(str(Path(__file__).with_name("many_trials_table.py"))), find_profile("laptop"), URI, say=say)
usage = resource.getrusage(resource.RUSAGE_SELF)
found = {
    "counts": asdict(counts),
    "wall_s": time.monotonic() - began,
    "driver_cpu_s": usage.ru_utime + usage.ru_stime,
    "driver_peak_mib": usage.ru_maxrss / 1024,
    "marks": marks,
}
Path(sys.argv[1]).write_text(json.dumps(found))
