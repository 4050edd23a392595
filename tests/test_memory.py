"""The peak memory of work is that of the work, not of the process before it."""

import numpy as np

from dmm.base import memory


def test_the_peak_is_that_since_the_reset():
    before = np.ones(2**24)  # 128 MiB, all touched
    del before
    memory.reset_peak_memory("cpu")
    low = memory.peak_memory("cpu")
    held = np.ones(2**23)  # 64 MiB
    assert 50 < memory.peak_memory("cpu") - low < 80
    del held
    assert memory.peak_memory("cpu") - low > 50


def test_where_the_system_has_no_proc_the_peak_is_that_of_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "PROC", tmp_path / "none")
    memory.reset_peak_memory("cpu")
    assert memory.peak_memory("cpu") > 20
