"""The remote code: the function that Tune runs for a trial, and the actors that roll episodes.

Nothing here changes a number: a trial gives the same bits in this process, in a Tune trial, and with any count of actors.
"""

import os
from collections.abc import Iterable

if "RAY_ADDRESS" not in os.environ:  # a Ray of our own listens on loopback only; read as ray is imported
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

import ray
import torch

from dmm.config import Trial
from dmm.models import DecisionModel
from dmm.rollout import Shard, Statistics, in_process, roll_shard
from dmm.run import fail, run
from dmm.train import fresh_model

ENVIRONMENT = {  # of every worker: one thread each, and no spinning while others work
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "MKL_NUM_THREADS": "1",
    "RAY_DEDUP_LOGS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a relative path means the same file here and in a trial
}


RETRIED = (OSError, MemoryError, RuntimeError, ray.exceptions.RayError)  # CUDA's errors are RuntimeErrors


@ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=3)
class RolloutActor:
    """Rolls shards with the weights that it is given; a pure function of its arguments, so a retry changes nothing."""

    def __init__(self) -> None:
        torch.set_num_threads(1)

    def roll(self, weights: dict, trial: Trial, statistics: Statistics, shard: Shard) -> tuple[list[float], list[int]]:
        """Rolls one shard."""
        model = fresh_model(trial)
        model.load_state_dict(weights)
        return roll_shard(model, trial, statistics, shard)


class RolloutPool:
    """A `roll` for dmm.rollout.evaluate that spreads shards over actors; which actor rolls what changes nothing.

    Inside a Tune trial the actors take the bundles that the trial's placement group holds for them.
    """

    def __init__(self, actors: int) -> None:
        self.actors = [RolloutActor.remote() for _ in range(actors)]

    def __call__(
        self, model: DecisionModel, trial: Trial, statistics: Statistics, work: list[Shard]
    ) -> Iterable[tuple[list[float], list[int]]]:
        weights = ray.put({name: value.cpu() for name, value in model.state_dict().items()})
        free, running, done = list(self.actors), {}, {}
        for index, shard in enumerate(work):
            if not free:
                (ready,), _ = ray.wait(list(running))
                position, actor = running.pop(ready)
                done[position] = ray.get(ready)
                free.append(actor)
            actor = free.pop()
            running[actor.roll.remote(weights, trial, statistics, shard)] = (index, actor)
        done |= {position: ray.get(reference) for reference, (position, _) in running.items()}
        return [done[index] for index in range(len(work))]

    def close(self) -> None:
        """Ends the actors."""
        for actor in self.actors:
            ray.kill(actor)  # pyright: ignore[reportArgumentType]  Ray types a handle in two ways


def train_trial(config: dict, trials: dict[str, Trial]) -> None:
    """Tune's trainable: runs the trial whose id is config["trial"] and reports after each evaluation and checkpoint.

    A trial that would fail again in the same way is marked as failed and ends; only other errors reach Tune, to be retried.
    """
    from ray import tune

    os.environ["DMM_HOME"] = config["home"]
    trial, actors = trials[config["trial"]], config["actors"]
    pool = RolloutPool(actors) if actors else None
    try:
        result = run(
            trial,
            roll=pool or in_process,
            device=config["device"],
            progress=lambda result: tune.report({"trial": trial.id, "update": result["update"]}),
        )
    except RETRIED:
        raise
    except Exception as error:
        result = fail(trial, f"{type(error).__name__}: {error}")
    finally:
        if pool:
            pool.close()
    tune.report({"trial": trial.id, "update": result["update"]})
