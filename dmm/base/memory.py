"""The peak memory of work in this process."""

import resource
import sys
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc/self")


def reset_peak_memory(device: str) -> None:
    """Starts the measurement anew. Where the system cannot, the peak is that of the process since its start."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
    else:
        with suppress(OSError):  # not Linux, or a container that forbids it
            (PROC / "clear_refs").write_text("5")


def peak_memory(device: str) -> float:
    """The peak since `reset_peak_memory`, in MiB: what tensors took of a GPU, or all resident memory of the process.

    Resident memory has the libraries and the pages of the data set that this process shares with others.
    """
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    with suppress(OSError):
        for line in (PROC / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)
