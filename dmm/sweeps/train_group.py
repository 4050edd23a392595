"""A Ray Train group: the workers that train one trial together, on GPUs or on several CPUs."""

import uuid
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

import torch

from dmm.base.paths import home
from dmm.rollouts.rollout import RolloutBackend, rollout_in_process
from dmm.schema import TrialResult
from dmm.sweeps.nodes import check_code
from dmm.sweeps.place import Place
from dmm.sweeps.profile import Profile
from dmm.sweeps.rollout_actors import RolloutPool
from dmm.training import ddp
from dmm.training.fit import fit
from dmm.trials.run import Execute, HeldTrial, OnProgress, train_and_evaluate
from dmm.trials.storage import load_result
from dmm.trials.train import training_data

POLL_SECONDS = 1.0  # between two reads of the result of a trial that a group trains
GROUP_STARTS = 30  # tries to place a group, a minute each. Others may use the cluster too
WORKER_SECONDS = 24 * 3600  # that a worker waits for the others. Ray Train itself reports a dead worker


@dataclass(frozen=True)
class GroupSettings:
    """What each worker of a Ray Train group needs to know."""

    place: Place
    held: HeldTrial
    returns_id: str  # of the trial, where the group was started
    rollout_actors: int


def execute_in_group(profile: Profile) -> Execute:
    """The counterpart of `train_and_evaluate` that uses a Ray Train group with a profile's workers."""
    from ray import tune
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError  # the path of Ray 2.60. The dependency is ray<2.61

    from dmm.sweeps.rendezvous import AnnouncedTorchConfig

    def execute(held: HeldTrial, roll: RolloutBackend, on_progress: OnProgress) -> TrialResult:
        trial = held.trial
        settings = GroupSettings(Place.here([trial]), held, trial.returns_id, profile.rollout_actors)
        trainer = TorchTrainer(
            train_worker,
            train_loop_config={"settings": settings},
            torch_config=AnnouncedTorchConfig(timeout_s=WORKER_SECONDS),
            scaling_config=ScalingConfig(
                num_workers=profile.workers if held.assert_training_held else 1,  # only one evaluates
                use_gpu=profile.gpus > 0,
                resources_per_worker={"CPU": profile.cpus} | ({"GPU": profile.gpus} if profile.gpus else {}),
            ),
            run_config=RunConfig(
                name=f"{trial.returns_id}-{uuid.uuid4().hex[:8]}",  # no group resumes from another group's files
                storage_path=str(home() / "tune" / tune.get_context().get_experiment_name()),
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=GROUP_STARTS),
            ),
        )
        try:
            with ThreadPoolExecutor(1) as thread:
                ended, seen = thread.submit(trainer.fit), (0, 0)
                while not wait([ended], POLL_SECONDS).done:
                    if (found := load_result(trial)) and (now := (found.update, len(found.evaluations))) > seen:
                        seen = now
                        on_progress(found)
                result = ended.result().return_value
                assert isinstance(result, TrialResult)  # the first worker's
                return result
        except TrainingFailedError as error:
            raise first_failure(error) from error

    return execute


def first_failure(error: Exception) -> Exception:
    """The error of the first worker that failed. A dead worker gives a RuntimeError, which Tune retries."""
    failures = getattr(error, "worker_failures", {})
    first = failures[min(failures)] if failures else error
    original = getattr(first, "_base_exc", None)
    return original if isinstance(original, Exception) else RuntimeError(str(error))


def train_worker(config: dict[str, GroupSettings]) -> TrialResult | None:
    """One worker of a group. The first returns the trial's result."""
    settings = config["settings"]
    torch.set_num_threads(1)
    settings.place.enter()
    trial, device = settings.held.trial, settings.held.device
    check_code(trial, settings.returns_id)
    if ddp.rank():
        fit(trial, training_data(trial), device=device)
        return None
    pool = RolloutPool(settings.rollout_actors, settings.place, anywhere=True) if settings.rollout_actors else None
    try:
        # the trial's Tune process reads the result file, so there is no progress to report
        return train_and_evaluate(settings.held, pool or rollout_in_process, lambda result: None)
    finally:
        if pool:
            pool.close()
