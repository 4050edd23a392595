"""The nodes of a cluster: they run the driver's code of dmm, and can make the models from outside."""

import platform
from collections.abc import Iterable

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dmm.config import Trial, edited_code


def check_code(trial: Trial, returns_id: str) -> None:
    """Raises RuntimeError if a trial has another second id here than in the driver, because the code of dmm differs."""
    if trial.returns_id != returns_id:
        edited = edited_code([trial]) or "it is as it was pinned"
        raise RuntimeError(f"the code of dmm on node {platform.node()} is not the driver's: {edited}")


def check_nodes(trials: Iterable[Trial]) -> None:
    """Makes the models from outside on every node. Raises ValueError, with node, module and file, where that fails.

    A node may lack a package that a model imports. Without such models there is nothing to do.
    """
    foreign = list({trial.source: trial for trial in trials if trial.source}.values())
    if not foreign:
        return
    ids = [trial.returns_id for trial in foreign]
    strategies = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in ray.nodes() if node["Alive"]]
    tasks = [make_models.options(scheduling_strategy=strategy).remote(foreign, ids) for strategy in strategies]
    if reasons := [reason for reason in ray.get(tasks) if reason]:
        raise ValueError("; ".join(reasons))


@ray.remote(num_cpus=0)
def make_models(trials: list[Trial], ids: list[str]) -> str:
    """Makes the classes of trials on this node. Returns the reason why it cannot, or ""."""
    try:
        for trial, returns_id in zip(trials, ids, strict=True):
            trial.model  # noqa: B018
            check_code(trial, returns_id)
    except ValueError as error:
        return f"node {platform.node()} cannot make the model {trial.arch}: {error}"
    except RuntimeError as error:
        return str(error)
    return ""
