"""The nodes of a cluster: they run the driver's code of dmm, and can make the models from outside."""

import platform
from collections.abc import Iterable

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dmm.config import Trial, edited_code
from dmm.sweeps.place import Place
from dmm.tasks import Task
from dmm.trials.run import check_environment


def check_code(trial: Trial, returns_id: str) -> None:
    """Raises RuntimeError if a trial has another second id here than in the driver, because the code of dmm differs."""
    if trial.returns_id != returns_id:
        edited = edited_code([trial]) or "it is as it was pinned"
        raise RuntimeError(f"the code of dmm on node {platform.node()} is not the driver's: {edited}")


def check_nodes(trials: Iterable[Trial], place: Place) -> None:
    """Makes models from outside, and environments that a table registers, on every node.

    Raises ValueError, with the node and the reason, where that fails. A node may lack a file, or a package that it imports.
    Without such models and environments there is nothing to do.
    """
    trials = list(trials)
    foreign = list({trial.source: trial for trial in trials if trial.source}.values())
    if not foreign and not place.tables:
        return
    tasks = list({trial.task for trial in trials} if place.tables else ())
    ids = [trial.returns_id for trial in foreign]
    strategies = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in ray.nodes() if node["Alive"]]
    found = [
        check_node.options(scheduling_strategy=strategy).remote(foreign, ids, tasks, place) for strategy in strategies
    ]
    if reasons := [reason for reason in ray.get(found) if reason]:
        raise ValueError("; ".join(reasons))


@ray.remote(num_cpus=0)
def check_node(trials: list[Trial], ids: list[str], tasks: list[Task], place: Place) -> str:
    """Makes the classes of trials, and the environments of tasks, on this node. Returns why it cannot, or ""."""
    try:
        place.enter()
        for task in tasks:
            check_environment(task)
    except ValueError as error:
        return f"node {platform.node()}: {error}"
    try:
        for trial, returns_id in zip(trials, ids, strict=True):
            trial.model  # noqa: B018
            check_code(trial, returns_id)
    except ValueError as error:
        return f"node {platform.node()} cannot make the model {trial.arch}: {error}"
    except RuntimeError as error:
        return str(error)
    return ""
