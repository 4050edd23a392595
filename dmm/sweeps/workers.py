"""The remote side of a sweep: the function that Tune runs for each trial.

A trial gives the same bits in this process, in a Tune trial, and with any number of actors. Several training workers sum in
another order. If a worker of a group dies, the group ends and Tune tries the trial again. It always resumes from the trial's
checkpoint.
"""

import platform

import ray

from dmm.base.errors import NO_RIGHT, explain
from dmm.config import Trial
from dmm.rollouts.rollout import rollout_in_process
from dmm.sweeps.nodes import check_code
from dmm.sweeps.place import Place
from dmm.sweeps.profile import Profile
from dmm.sweeps.rollout_actors import RolloutPool
from dmm.sweeps.train_group import execute_in_group
from dmm.trials.run import fail, run

ENVIRONMENT = {  # of every worker: one thread, and no busy waiting
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "MKL_NUM_THREADS": "1",
    "RAY_DEDUP_LOGS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # see Place
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # a Ray Train group starts and ends as often as its trials do
    "RAY_TRAIN_METRICS_ENABLED": "0",
}
RETRYABLE_ERRORS = (OSError, MemoryError, RuntimeError, ray.exceptions.RayError)  # CUDA's errors are RuntimeErrors


def train_trial(
    config: dict[str, str], trials: dict[str, Trial], profile: Profile, place: Place, retrain: bool = False
) -> None:
    """Tune's trainable: runs the trial whose second id is config["trial"]. It reports checkpoints, and for whom it waits.

    A trial that would fail again in the same way is marked as failed and ends. Only other errors reach Tune, which retries.
    """
    from ray import tune  # not before the driver has silenced it

    trial = trials[config["trial"]]
    try:
        place.enter()
    except ValueError as error:
        result = fail(trial, f"node {platform.node()}: {error}")
        return tune.report({"trial": trial.returns_id, "update": result.update})
    check_code(trial, config["trial"])  # otherwise the driver would wait for a result that has another id
    pool = RolloutPool(profile.rollout_actors, place) if profile.rollout_actors and not profile.group else None
    try:
        result = run(
            trial,
            roll=pool or rollout_in_process,
            device=profile.device,
            on_progress=lambda result: tune.report({"trial": trial.returns_id, "update": result.update}),
            wait=lambda whom: tune.report({"trial": trial.returns_id, "waits for": whom}),
            execute=execute_in_group(profile) if profile.group else None,
            keep=profile.keep,
            retrain=retrain,
        )
    except RETRYABLE_ERRORS as error:
        if not isinstance(error, OSError) or error.errno not in NO_RIGHT:
            raise
        result = fail(trial, explain(error))
    except Exception as error:
        result = fail(trial, f"{type(error).__name__}: {error}")
    finally:
        if pool:
            pool.close()
    # the reason is reported too, because this process may have no right to write it
    why = result.error if result.status == "failed" else ""
    tune.report({"trial": trial.returns_id, "update": result.update, "failed": why})
