"""Our own datasets, `dmm/TASK/POLICY-v0`. An absent one is collected: its behaviour, a policy or a script, is rolled out.

The id fixes behaviour, steps and seed. `dmm/TASK/POLICY-nSTEPS-sSEED-v0` has another number of steps and another seed than the
default. The files are Minari datasets in Minari's own folder, under the whole id.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dmm.base.errors import unknown_name
from dmm.base.fields import check_fields, check_least
from dmm.base.progress_bar import ProgressBar
from dmm.base.threads import one_thread
from dmm.data import collect, scripts
from dmm.data.addresses import d4rl_files
from dmm.data.readers import minari
from dmm.data.trajectories import Trajectories
from dmm.tasks import TASKS
from dmm.tasks.view import MARK, split_id

PREFIXES = ("dmm",)
STEPS, SEED = 100_000, 0  # of an id that names neither
ID = re.compile(r"dmm/(?P<task>[\w-]+)/(?P<policy>\w+)(-n(?P<steps>[1-9]\d*)-s(?P<seed>0|[1-9]\d*))?-v0")


@dataclass(frozen=True)
class Collection:
    """The settings that fix a collected dataset."""

    task: str
    policy: str
    steps: int = STEPS  # at least: the last episode is whole
    seed: int = SEED

    def __post_init__(self) -> None:
        check_fields(self)
        check_least(self, 1, "steps")
        check_least(self, 0, "seed")

    @property
    def id(self) -> str:
        """The dataset's id. It contains all settings."""
        asked = "" if (self.steps, self.seed) == (STEPS, SEED) else f"-n{self.steps}-s{self.seed}"
        return f"dmm/{self.task}/{self.policy}{asked}-v0"

    @property
    def behaviour(self) -> str:
        """The name of the behaviour, for example hopper-medium."""
        return f"{self.task}-{self.policy}"


def behaviours() -> set[str]:
    """The names of all behaviours: policies and scripts."""
    return {*collect.policies(), *scripts.BEHAVIOURS}


def find_behaviour(name: str) -> collect.Behaviour:
    """The behaviour of that name. A script hides a policy. Raises ValueError if a policy's file is damaged."""
    return scripts.BEHAVIOURS.get(name) or collect.load_policy(collect.policies()[name])


def parse(dataset_id: str) -> Collection:
    """Reads an id. Raises ValueError if there is no behaviour for it."""
    if match := ID.fullmatch(split_id(dataset_id)[0]):
        part = match.groupdict()
        found = Collection(part["task"], part["policy"], int(part["steps"] or STEPS), int(part["seed"] or SEED))
        if found.behaviour in behaviours():
            return found
    raise absent(dataset_id)


def with_size(dataset_id: str, steps: int | None, seed: int | None) -> str:
    """The id of the same policy's dataset with other steps or another seed. None keeps the values of the id.

    An id without a view gets that of its task.

    Raises ValueError for an id of another source, whose data cannot be collected.
    """
    if dataset_id.startswith(("minari/", "d4rl/", "d4rl:", "dqn/")):
        on_the_web = dataset_id.startswith(("minari/", "dqn/")) or dataset_id in d4rl_files()
        command = shlex.join(["dmm", "data", "download", dataset_id])
        how = f"`{command}` gets it" if on_the_web else "it is a file of yours"
        raise ValueError(f"{dataset_id!r} is not collected, because {how}. Collected are dmm/TASK/POLICY-v0")
    changes = {key: value for key, value in {"steps": steps, "seed": seed}.items() if value is not None}
    mark, view = dataset_id.partition(MARK)[1:]
    found = replace(parse(dataset_id), **changes).id + mark + view if changes else dataset_id
    return found if mark else with_view(found)


def path(dataset_id: str) -> Path:
    """The file that changes when a dataset does."""
    return minari.path(dataset_id)


def read(dataset_id: str) -> Trajectories:
    """Reads a dataset's whole episodes."""
    return minari.read(dataset_id)


def local_ids() -> list[str]:
    """Ids of the datasets that were collected here, with the views of their tasks."""
    return [with_view(name) for name in minari.names() if name.startswith("dmm/")]


def fetchable_ids() -> list[str]:
    """Ids that can be collected, with the default steps and seed and the views of their tasks."""
    names = [name.rpartition("-") for name in sorted(behaviours())]
    return [with_view(Collection(task, policy).id) for task, _, policy in names if task]


def with_view(dataset_id: str) -> str:
    """The id with the view of its task, if the task has one."""
    task = TASKS.get(dataset_id.removeprefix("dmm/").partition("/")[0])
    return f"{dataset_id}{MARK}{task.view}" if task and task.view else dataset_id


def absent(dataset_id: str) -> ValueError:
    """The error for a dataset that is neither here nor can be collected."""
    return unknown_name("dataset", dataset_id, {*local_ids(), *fetchable_ids()})


def fetch(dataset_id: str) -> None:
    """Collects a dataset: the fewest whole episodes that have the steps asked for."""
    collection = parse(dataset_id)
    behaviour, steps = find_behaviour(collection.behaviour), 0
    origin = collect.Origin(
        policy=collection.behaviour,
        seed=collection.seed,
        steps=collection.steps,
        episodes_per_batch=behaviour.batch,
    )
    with one_thread(), ProgressBar(collection.steps, "steps", f"collecting {collection.id}") as bar:

        def rolled() -> Iterator[collect.Episode]:
            nonlocal steps
            for episode in collect.roll_steps(behaviour, collection.seed, collection.steps):
                yield episode
                steps += len(episode.rewards)
                bar.advance(min(steps, collection.steps), {})

        bar.start()
        collect.write(collection.id, rolled(), behaviour, origin)
