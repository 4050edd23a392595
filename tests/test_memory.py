"""The peak memory of work is that of the work, not of the process before it."""

import mmap

import numpy as np

from dmm.base import memory


def new_memory(size: int) -> mmap.mmap:
    """`size` MiB of new pages, all touched. An array could lie in pages that this process has freed and still holds."""
    pages = mmap.mmap(-1, size * 2**20)
    np.frombuffer(pages, np.uint8)[:: mmap.PAGESIZE] = 1
    return pages


def test_the_peak_is_that_since_the_reset():
    new_memory(128).close()
    memory.reset_peak_memory("cpu")
    low = memory.peak_memory("cpu")
    held = new_memory(64)
    assert 50 < memory.peak_memory("cpu") - low < 80
    held.close()
    assert memory.peak_memory("cpu") - low > 50


def test_where_the_system_has_no_proc_the_peak_is_that_of_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "PROC", tmp_path / "none")
    memory.reset_peak_memory("cpu")
    assert memory.peak_memory("cpu") > 20
