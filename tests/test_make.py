"""Environments are made without notes for authors of models."""

from dmm.tasks import find_task
from dmm.tasks.make import warn


def test_a_deprecation_in_a_model_is_neither_printed_nor_logged(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    find_task("halfcheetah").make().close()
    assert capfd.readouterr() == ("", "") and not list(tmp_path.iterdir())


def test_other_warnings_of_mujoco_are_printed(capfd):
    warn("Nan, Inf or huge value in QACC at DOF 0")
    assert capfd.readouterr().err == "MuJoCo: Nan, Inf or huge value in QACC at DOF 0\n"
