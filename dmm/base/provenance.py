"""The origin of a result: commit, library versions, machine. It is recorded with the result and is not part of its id."""

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "dmm-bench",
    "torch",
    "numpy",
    "gymnasium",
    "gymnasium-robotics",
    "mujoco",
    "ale-py",
    "minari",
    "ray",
    "mlflow",
)


def commit() -> str:
    """The commit of the running code, with -dirty if the tree has changes. "unknown" outside a checkout."""
    # git refuses another user's checkout, because the checkout may name programs. But its code runs here already
    git = ["git", "-c", "safe.directory=*", "-C", str(Path(__file__).parent)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True, check=True)
    except (
        FileNotFoundError,
        subprocess.CalledProcessError,
    ):  # no git, or dmm is installed inside another project's checkout
        return "unknown"
    command = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "unknown"


def versions(*names: str) -> dict[str, str]:
    """Versions of installed packages by name. A package that is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in names or PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            pass
    return found


def processor(machine: str) -> str:
    """A machine without its number of cores, which moves no number of a table."""
    return re.sub(r", \d+ cores", "", machine)


def machine() -> str:
    """The processor and the number of cores. A virtual machine may name only a maker. So the family and model are added."""
    name, found = platform.processor() or platform.machine(), {}
    info = Path("/proc/cpuinfo")
    if info.exists():
        pairs = [line.partition(":") for line in info.read_text().splitlines()]
        found = {key.strip(): value.strip() for key, _, value in pairs}
        name = found.get("model name", name)
    kind = f" (family {found['cpu family']}, model {found['model']})" if {"cpu family", "model"} <= set(found) else ""
    return f"{name}{kind}, {os.cpu_count()} cores"
