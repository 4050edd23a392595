"""The quickstart as a newcomer runs it: every seed learns, and a lower target gives a lower return."""

import json
import os
import subprocess
import sys
from statistics import fmean

import pytest

from dmm.schema import TrialResult, from_json


@pytest.mark.slow
def test_quickstart_learns_and_follows_the_target(tmp_path):
    home = tmp_path / "home"
    env = {**os.environ, "DMM_HOME": str(home), "MINARI_DATASETS_PATH": str(tmp_path / "minari")}
    for command in ("sweep", "report"):
        subprocess.run([sys.executable, "-m", "dmm", command, "quickstart"], cwd=tmp_path, env=env, check=True)
    results = [from_json(TrialResult, json.loads(path.read_text())) for path in home.glob("trials/*/result.json")]
    assert len(results) == 4
    got = {"dt": {}, "metamamba": {}}
    for result in results:
        last = {e.target: fmean(e.returns) for e in result.evaluations if e.update == result.update}
        assert last[1.0] > 500, result.trial  # untrained: below 100
        for target, value in last.items():
            got[result.trial.arch].setdefault(target, []).append(value)
    for targets in got.values():
        assert fmean(targets[1.0]) > results[0].data.return_mean / 2
        assert fmean(targets[0.0]) < 0.75 * fmean(targets[1.0])
    assert (tmp_path / "reports/quickstart/table.md").read_text().startswith("# Quickstart")
