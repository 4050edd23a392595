"""The quickstart as a newcomer runs it: every seed learns, and a lower target gives a lower return."""

import os
import subprocess
import sys
from statistics import fmean

import pytest
from helpers.sweep_process import results


@pytest.mark.slow
def test_quickstart_learns_and_follows_the_target(tmp_path):
    home = tmp_path / "home"
    env = {**os.environ, "DMM_HOME": str(home), "MINARI_DATASETS_PATH": str(tmp_path / "minari")}
    for command in ("sweep", "report"):
        subprocess.run([sys.executable, "-m", "dmm", command, "quickstart"], cwd=tmp_path, env=env, check=True)
    found = results(home)
    assert len(found) == 4
    got = {"dt": {}, "metamamba": {}}
    for result in found:
        last = {e.target: fmean(e.returns) for e in result.evaluations if e.update == result.update}
        assert last["x1"] > 500, result.trial  # untrained: below 100
        for target, value in last.items():
            got[result.trial.weights.arch].setdefault(target, []).append(value)
    for targets in got.values():
        assert fmean(targets["x1"]) > found[0].training.data.return_mean / 2
        assert fmean(targets["x0"]) < 0.75 * fmean(targets["x1"])
    assert (tmp_path / "reports/quickstart/table.md").read_text().startswith("# Quickstart")
