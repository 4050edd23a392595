"""What a sweep, a report and a status cost by the number of trials: measured, printed, and checked for what is lost."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.reacher import write_reacher_file
from helpers.sweep_process import TESTS, dmm, environment, free_port, kill_tree, results, start_mlflow

MANY = str(TESTS / "helpers/many_trials_table.py")


def peak_mib(pid: int) -> float:
    """The most memory that a process and its children have held, in MiB."""
    import psutil

    members = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    lines = [Path(f"/proc/{member.pid}/status").read_text() for member in members]
    return sum(int(re.findall(r"VmHWM:\s+(\d+)", text)[0]) for text in lines) / 1024


@pytest.mark.slow
@pytest.mark.parametrize("trials", [int(word) for word in os.environ.get("DMM_SCALE", "100 300 1000").split()])
def test_many_trials(tmp_path, trials):
    write_reacher_file(tmp_path / "reacher.hdf5")
    port = free_port()
    env = environment(
        tmp_path / "home",
        tmp_path / "reacher.hdf5",
        DMM_TOY_TRIALS=str(trials),
        MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}",
    )
    server = start_mlflow(tmp_path / "server", port)
    try:
        out = tmp_path / "measured.json"
        with open(tmp_path / "sweep.log", "wb") as log:
            code = subprocess.run(
                [sys.executable, TESTS / "helpers/measure_sweep.py", out], env=env, cwd=tmp_path, stdout=log, stderr=log
            ).returncode
        assert code == 0, (tmp_path / "sweep.log").read_text()[-5000:]
        found = json.loads(out.read_text())
        found["trials_own_s"] = sum(result.seconds.total for result in results(tmp_path / "home"))
        found["mlflow_peak_mib"] = peak_mib(server.pid)
        for name, words in {"report": ["report"], "status": ["status"], "again": ["sweep"]}.items():
            began = time.monotonic()
            done = dmm(*words, MANY, env=env, cwd=tmp_path)
            found[f"{name}_s"] = time.monotonic() - began
            assert done.returncode == 0, done.stdout + done.stderr
        began = time.monotonic()
        done = dmm("status", MANY, "--mlflow", env["MLFLOW_TRACKING_URI"], env=env, cwd=tmp_path)
        found["status_by_mlflow_s"] = time.monotonic() - began
        assert f"{trials}/{trials} done" in done.stdout
    finally:
        kill_tree(server.pid)
        server.wait()
    assert found["counts"] == {"done": trials, "failed": 0, "total": trials, "unsent": 0}
    marks = found.pop("marks")
    print(json.dumps({"trials": trials, "load": os.getloadavg()} | found, indent=1))
    Path(os.environ.get("DMM_SCALE_OUT", tmp_path), f"scale-{trials}.json").write_text(
        json.dumps(found | {"marks": marks})
    )
