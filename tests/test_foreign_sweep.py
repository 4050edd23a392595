"""A sweep of an architecture from outside: two workers and an actor make its class, though its file is gone."""

import shutil
import sys
from dataclasses import replace
from types import ModuleType

import pytest
from helpers.foreign import GRU, write_gru
from helpers.reacher import REACHER, TINY

from dmm.config import Column, Row, Table

pytestmark = pytest.mark.slow


def test_workers_and_actors_make_the_class_and_a_node_that_cannot_is_named(reacher_file, tmp_path, monkeypatch):
    from dmm.sweeps.profile import Profile
    from dmm.sweeps.sweep import sweep

    import ray  # isort: skip  after dmm.sweeps, as in a sweep

    from dmm.sweeps.workers import ENVIRONMENT
    from dmm.trials.run import run
    from dmm.trials.storage import load_result

    row = Row(label="GRU", arch=write_gru(tmp_path / "gone"))
    monkeypatch.setitem(sys.modules, "only_here", ModuleType("only_here"))
    lacking = Row(label="other", arch=write_gru(tmp_path / "gone", "import only_here\n" + GRU))
    shutil.rmtree(tmp_path / "gone")
    table = Table(
        name="mine", title="Mine", rows=(row,), seeds=(0,), protocol=TINY.with_overrides(batch_size=7),
        columns=(Column(label="c", task=REACHER, dataset=f"d4rl:{reacher_file}"),),
    )  # fmt: skip
    (trial,) = table.trials()
    said: list[str] = []
    ray.init("local", num_cpus=3, include_dashboard=False, runtime_env={"env_vars": ENVIRONMENT}, logging_level="error")
    try:
        missing = "node .* cannot make the model gru: gru.py, line 1 cannot be run: ModuleNotFoundError.*'only_here'"
        with pytest.raises(ValueError, match=missing):
            sweep(replace(table, name="lacking", rows=(row, lacking)), Profile(name="one"), say=said.append)
        assert load_result(trial) is None
        counts = sweep(table, Profile(name="pair", workers=2, rollout_actors=1), say=said.append)
    finally:
        ray.shutdown()
    pair = load_result(trial)
    assert counts.done == counts.total == 1 and pair and pair.training.provenance.workers == "2", said
    monkeypatch.setenv("DMM_HOME", str(tmp_path / "alone"))
    losses = [point.loss for point in run(trial).training.loss]
    assert [point.loss for point in pair.training.loss] == pytest.approx(losses, rel=1e-4)
