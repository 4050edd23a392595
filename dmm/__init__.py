"""dmm: a benchmark service for offline-RL sequence models.

Every setting that can change a score is a field of a frozen dataclass. Each model and each table is one Python file.

    import dmm
    trial = dmm.train("dt", "dmm/hopper/medium-v0", width=64)  # budget "short". Later calls return the finished trial
    trial.score, trial.curve
    policy = dmm.load(trial.id).policy(target=0.5)  # half of the task's target return
    dmm.rollout(policy, episodes=20, video="hopper.gif")
    dmm.load_results("quickstart")  # a table's evaluations as a DataFrame

The names in `__all__` are the public API. Each is loaded at its first use, so `import dmm` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dmm.api.episodes import rollout as rollout
    from dmm.api.names import list_datasets as list_datasets
    from dmm.api.names import list_models as list_models
    from dmm.api.names import list_tables as list_tables
    from dmm.api.names import list_tasks as list_tasks
    from dmm.api.names import load_dataset as load_dataset
    from dmm.api.results import load_results as load_results
    from dmm.api.trained import load as load
    from dmm.api.trials import train as train

__version__ = "0.1.0"

MODULES = {  # public name -> the module that has it
    "list_datasets": "dmm.api.names",
    "list_models": "dmm.api.names",
    "list_tables": "dmm.api.names",
    "list_tasks": "dmm.api.names",
    "load": "dmm.api.trained",
    "load_dataset": "dmm.api.names",
    "load_results": "dmm.api.results",
    "rollout": "dmm.api.episodes",
    "train": "dmm.api.trials",
}
__all__ = [
    "list_datasets", "list_models", "list_tables", "list_tasks",
    "load", "load_dataset", "load_results", "rollout", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module 'dmm' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(MODULES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
