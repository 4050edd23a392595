"""The remote code: the function that Tune runs for a trial, the Ray Train group that it may start, and rollout actors.

A trial gives the same bits in this process, in a Tune trial, and with any count of actors. Several training workers sum in
another order. A group whose worker dies ends and is tried again by Tune: there is one way to go on, the trial's checkpoint.
"""

import os
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress

if (
    os.environ.get("RAY_ADDRESS", "local") == "local"
):  # a Ray of our own listens on loopback only; read as ray is imported
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

import ray
import torch
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from dmm.base.paths import home
from dmm.config import Trial
from dmm.models import DecisionModel
from dmm.rollouts.rollout import EpisodeBatch, RolloutResult, Statistics, rollout_batch, rollout_in_process
from dmm.sweeps.profile import Profile
from dmm.training import ddp as parallel
from dmm.training.fit import fit, init_model
from dmm.trials.run import fail, run, train_and_evaluate, training_data
from dmm.trials.storage import load_result

ENVIRONMENT = {  # of every worker: one thread each, and no spinning while others work
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "MKL_NUM_THREADS": "1",
    "RAY_DEDUP_LOGS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # see settle
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # a Ray Train group starts and ends as often as its trials do
    "RAY_TRAIN_METRICS_ENABLED": "0",
}
PLACE = 30  # seconds that an evaluation waits for an actor, before it rolls its episodes itself
POLL = 1.0  # seconds between two looks at the result of a trial that a group works on
STARTS = 30  # tries to get a group's place, a minute each; others may use the cluster too
PATIENCE = 24 * 3600  # seconds that a worker waits for the others; of one that has died, Ray Train tells it


RETRIED = (OSError, MemoryError, RuntimeError, ray.exceptions.RayError)  # CUDA's errors are RuntimeErrors


def rollout_with_weights(weights: dict, trial: Trial, statistics: Statistics, shard: EpisodeBatch) -> RolloutResult:
    """Rolls one shard with a copy of a model on the CPU."""
    model = init_model(trial)
    model.load_state_dict(weights)
    return rollout_batch(model, trial, statistics, shard)


@ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=3)
class RolloutActor:
    """Rolls shards with the weights that it is given; a pure function of its arguments, so a retry changes nothing."""

    def __init__(self) -> None:
        torch.set_num_threads(1)

    def ready(self) -> None:
        """Answers, once the actor has found a place."""

    def roll(self, weights: dict, trial: Trial, statistics: Statistics, shard: EpisodeBatch) -> RolloutResult:
        """Rolls one shard."""
        return rollout_with_weights(weights, trial, statistics, shard)


class RolloutPool:
    """A `roll` for dmm.rollout.evaluate that spreads shards over actors; which actor rolls what changes nothing.

    Inside a Tune trial the actors take the bundles that the trial's placement group holds for them. A Ray Train worker's
    group has none to spare, so there they go `anywhere`; and one that finds no place is not waited for: two sweeps on one
    cluster, each with half of what both need, would wait for ever.
    """

    def __init__(self, actors: int, *, anywhere: bool = False) -> None:
        strategy = PlacementGroupSchedulingStrategy(None) if anywhere else None  # pyright: ignore[reportArgumentType]
        self.actors = [RolloutActor.options(scheduling_strategy=strategy).remote() for _ in range(actors)]
        self.coming = {actor.ready.remote(): actor for actor in self.actors}

    def __call__(
        self, model: DecisionModel, trial: Trial, statistics: Statistics, work: list[EpisodeBatch]
    ) -> Iterable[RolloutResult]:
        values = {name: value.cpu() for name, value in model.state_dict().items()}
        free = self.here()
        if not free:
            return [rollout_with_weights(values, trial, statistics, shard) for shard in work]
        weights, running, done = ray.put(values), {}, {}
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

    def here(self) -> list:
        """The actors that have found a place; waits for the first for a while."""
        if len(self.coming) == len(self.actors):
            ray.wait(list(self.coming), timeout=PLACE)
        arrived = ray.wait(list(self.coming), num_returns=len(self.coming), timeout=0)[0] if self.coming else []
        for reference in arrived:
            del self.coming[reference]
        return [actor for actor in self.actors if actor not in self.coming.values()]

    def close(self) -> None:
        """Ends the actors."""
        for actor in self.actors:
            ray.kill(actor)  # pyright: ignore[reportArgumentType]  Ray types a handle in two ways


def train_trial(config: dict, trials: dict[str, Trial], profile: Profile) -> None:
    """Tune's trainable: runs the trial whose id is config["trial"] and reports after each evaluation and checkpoint.

    A trial that would fail again in the same way is marked as failed and ends; only other errors reach Tune, to be retried.
    """
    from ray import tune

    settle(config)
    trial = trials[config["trial"]]
    pool = RolloutPool(profile.rollout_actors) if profile.rollout_actors and not profile.group else None
    try:
        result = run(
            trial,
            roll=pool or rollout_in_process,
            device=profile.device,
            progress=lambda result: tune.report({"trial": trial.id, "update": result["update"]}),
            finish=train_in_group(profile) if profile.group else None,
        )
    except RETRIED:
        raise
    except Exception as error:
        result = fail(trial, f"{type(error).__name__}: {error}")
    finally:
        if pool:
            pool.close()
    tune.report({"trial": trial.id, "update": result["update"]})


def settle(place: dict) -> None:
    """Makes a relative path, and DMM_HOME, mean here what they mean to the driver; its folder may be on its machine only."""
    os.environ["DMM_HOME"] = place["home"]
    with suppress(OSError):
        os.chdir(place["cwd"])


def train_in_group(profile: Profile) -> Callable[..., dict]:
    """A `finish` for dmm.run.run that uses the workers of a profile."""
    from ray import tune
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    from dmm.sweeps.rendezvous import AnnouncedTorchConfig

    def finish(trial: Trial, before: dict | None, assert_lock_held: Callable, *, roll, device: str, progress) -> dict:
        trainer = TorchTrainer(
            work,
            train_loop_config={
                "home": str(home()),
                "cwd": os.getcwd(),
                "trial": trial,
                "before": before,
                "assert_lock_held": assert_lock_held,
                "device": device,
                "actors": profile.rollout_actors,
            },
            torch_config=AnnouncedTorchConfig(timeout_s=PATIENCE),
            scaling_config=ScalingConfig(
                num_workers=profile.workers,
                use_gpu=profile.gpus > 0,
                resources_per_worker={"CPU": profile.cpus} | ({"GPU": profile.gpus} if profile.gpus else {}),
            ),
            run_config=RunConfig(
                name=f"{trial.id}-{uuid.uuid4().hex[:8]}",  # no group goes on from another's files
                storage_path=str(home() / "tune" / tune.get_context().get_experiment_name()),
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=STARTS),
            ),
        )
        try:
            with ThreadPoolExecutor(1) as thread:
                ended, seen = thread.submit(trainer.fit), 0
                while not wait([ended], POLL).done:
                    if (found := load_result(trial)) and found["update"] > seen:
                        seen = found["update"]
                        progress(found)
                result = ended.result().return_value
                assert isinstance(result, dict)  # the first worker's
                return result
        except TrainingFailedError as error:
            raise cause(error) from error

    return finish


def cause(error: Exception) -> Exception:
    """What went wrong in the first worker that failed; a worker that has died is a RuntimeError, to be tried again."""
    failures = getattr(error, "worker_failures", {})
    first = failures[min(failures)] if failures else error
    original = getattr(first, "_base_exc", None)
    return original if isinstance(original, Exception) else RuntimeError(str(error))


def work(settings: dict) -> dict | None:
    """One worker of a group; the first gives the trial's result."""
    torch.set_num_threads(1)
    settle(settings)
    trial, device = settings["trial"], settings["device"]
    if parallel.rank():
        data = training_data(trial.dataset, trial.protocol.top_fraction)
        fit(trial, data, lambda model, evaluation, update: [], device=device)
        return None
    pool = RolloutPool(settings["actors"], anywhere=True) if settings["actors"] else None
    try:
        return train_and_evaluate(
            trial,
            settings["before"],
            settings["assert_lock_held"],
            roll=pool or rollout_in_process,
            device=device,
            progress=lambda result: None,  # the trial's Tune process reads the file
        )
    finally:
        if pool:
            pool.close()
