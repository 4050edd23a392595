"""Ray Train groups in a sweep: they finish beside each other and their actors, and listen on nothing but loopback."""

import dataclasses

import psutil
import pytest
from helpers.reacher import REACHER, TINY, write_reacher_file
from helpers.sweep_process import environment, kill_tree, results, start_sweep, wait_for

from dmm.config import Column

pytestmark = pytest.mark.slow


@pytest.fixture
def table(tmp_path, monkeypatch):
    """DT on Reacher, two seeds."""
    data = tmp_path / "reacher.hdf5"
    write_reacher_file(data)
    monkeypatch.setenv("DMM_TOY_DATA", str(data))
    from helpers.toy_table import TABLE

    column = Column(task=REACHER, dataset=f"d4rl:{data}", label="reacher-random")
    return dataclasses.replace(
        TABLE, rows=TABLE.rows[:1], columns=(column,), protocol=TINY.with_overrides(updates=20, batch_size=7)
    )


def test_groups_with_actors_finish_beside_each_other_with_the_curves_of_one_process(table, monkeypatch, tmp_path):
    """Two trials at once, each of two workers and an actor, on just enough CPUs."""
    from dmm.sweeps.profile import Profile
    from dmm.sweeps.sweep import sweep

    import ray  # isort: skip  after dmm.sweep, as in a sweep

    from dmm.sweeps.workers import ENVIRONMENT
    from dmm.trials.run import run
    from dmm.trials.storage import load_result

    said: list[str] = []
    ray.init("local", num_cpus=6, include_dashboard=False, runtime_env={"env_vars": ENVIRONMENT}, logging_level="error")
    try:
        with pytest.raises(ValueError, match="8 CPU for 1 trial.*has 6 CPU"):
            sweep(table, Profile(name="much", workers=7, rollout_actors=1), say=said.append)
        assert not any(load_result(trial) for trial in table.trials())
        counts = sweep(table, Profile(name="pair", workers=2, rollout_actors=1), say=said.append)
    finally:
        ray.shutdown()
    assert counts.done == counts.total == 2, said
    assert "profile pair: 2 at once, 2 workers of 1 CPU and 1 rollout actors of 1 CPU a trial" in said
    together = [load_result(trial) for trial in table.trials()]
    monkeypatch.setenv("DMM_HOME", str(tmp_path / "alone"))
    for trial, pair in zip(table.trials(), together):
        one = run(trial)
        assert pair and (pair.training.provenance.workers, one.training.provenance.workers) == ("2", "1")
        assert [update for update, _ in pair.training.loss] == [update for update, _ in one.training.loss]
        losses = [loss for _, loss in one.training.loss]
        assert [loss for _, loss in pair.training.loss] == pytest.approx(losses, rel=1e-4)
        assert [len(entry.returns) for entry in pair.evaluations] == [5] * 4


@pytest.mark.parametrize("workers", [1, 2])
def test_a_local_sweep_listens_on_loopback_only(tmp_path, workers):
    data, profile, home = tmp_path / "reacher.hdf5", tmp_path / "some.toml", tmp_path / "home"
    write_reacher_file(data)
    profile.write_text(f"workers = {workers}")
    env = environment(home, data, DMM_TOY_UPDATES="60000")
    driver = start_sweep(env, tmp_path, "--profile", str(profile))
    try:
        wait_for(lambda: results(home), "a trial that trains", 900)
        listening = set()
        for process in [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]:
            sockets = process.net_connections(kind="inet")
            listening |= {(process.name(), one.laddr.ip) for one in sockets if one.status == psutil.CONN_LISTEN}
        assert [found.training.provenance.workers for found in results(home)][:1] == [str(workers)]
    finally:
        kill_tree(driver.pid)
    assert listening and not [one for one in listening if one[1].removeprefix("::ffff:") not in ("127.0.0.1", "::1")]


def test_an_error_of_a_worker_is_told_from_a_worker_that_died():
    """What would come again is not tried again; Tune tries a RuntimeError again."""
    import ray
    from ray.train import WorkerGroupError
    from ray.train.v2._internal.exceptions import UserExceptionWithTraceback

    from dmm.sweeps.train_group import first_failure
    from dmm.sweeps.workers import RETRYABLE_ERRORS

    wrong = UserExceptionWithTraceback(FloatingPointError("the loss is nan"), "trace")
    died = ray.exceptions.RayActorError()
    assert isinstance(first_failure(WorkerGroupError("", {1: wrong, 0: wrong})), FloatingPointError)
    assert isinstance(first_failure(WorkerGroupError("worker 1 died", {1: died})), RETRYABLE_ERRORS)
    assert not issubclass(FloatingPointError, RETRYABLE_ERRORS)
