"""Ray Train groups in a sweep: two trials at once, each of two workers and an actor, on just enough CPUs, and nothing for the network."""

import dataclasses
import sys
from contextlib import suppress

import psutil
import pytest
from conftest import TINY, write_reacher_file

pytestmark = pytest.mark.slow


@pytest.fixture
def table(tmp_path, monkeypatch):
    """DT without dropout on Reacher, two seeds."""
    data = tmp_path / "reacher.hdf5"
    write_reacher_file(data)
    monkeypatch.setenv("DMM_TOY_DATA", str(data))
    from toy import TABLE

    row = dataclasses.replace(TABLE.rows[0], changes={"width": 16, "layers": 1, "dropout": 0.0})
    column = dataclasses.replace(TABLE.columns[0], dataset=(f"d4rl:{data}",))
    return dataclasses.replace(TABLE, rows=(row,), columns=(column,), protocol=TINY.changed(updates=20, batch_size=7))


def listening() -> set[tuple[str, str]]:
    """Who listens where, of this process and all that it started."""
    found = set()
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with suppress(psutil.Error):
            sockets = process.net_connections(kind="inet")
            found |= {(process.name(), one.laddr.ip) for one in sockets if one.status == psutil.CONN_LISTEN}
    return found


def test_a_sweep_with_groups_and_actors_finishes_with_the_curves_of_one_process(table, monkeypatch, tmp_path):
    import ray

    from dmm.profile import Profile
    from dmm.run import run
    from dmm.storage import result
    from dmm.sweep import sweep
    from dmm.workers import ENVIRONMENT

    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    said, open_to = [], set()

    def say(line: str) -> None:
        said.append(line)
        if " running" in line:
            open_to.update(listening())

    ray.init("local", num_cpus=6, include_dashboard=False, runtime_env={"env_vars": ENVIRONMENT}, logging_level="error")
    try:
        with pytest.raises(ValueError, match="8 CPU for 1 trial.*has 6 CPU"):
            sweep(table, Profile(name="much", workers=7, rollout_actors=1), say=say)
        assert not any(result(trial) for trial in table.trials())
        counts = sweep(table, Profile(name="pair", workers=2, rollout_actors=1), say=say)
    finally:
        ray.shutdown()
    assert counts["done"] == counts["total"] == 2, said
    assert "profile pair: 2 at once, 2 workers of 1 CPU and 1 rollout actors of 1 CPU a trial" in said
    assert open_to and all(ip in ("127.0.0.1", "::1") for _, ip in open_to), open_to
    together = [result(trial) for trial in table.trials()]
    monkeypatch.setenv("DMM_HOME", str(tmp_path / "alone"))
    for trial, pair in zip(table.trials(), together):
        one = run(trial)
        assert pair and (pair["provenance"]["workers"], one["provenance"]["workers"]) == (2, 1)
        assert [update for update, _ in pair["loss"]] == [update for update, _ in one["loss"]]
        assert [loss for _, loss in pair["loss"]] == pytest.approx([loss for _, loss in one["loss"]], rel=1e-4)
        assert [len(entry["returns"]) for entry in pair["evaluations"]] == [5] * 4
