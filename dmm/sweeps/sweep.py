"""The driver of a sweep: Ray Tune runs a table's unfinished trials. The same command resumes it."""

import logging
import os
import shutil
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dmm import data
from dmm.base.errors import NO_RIGHT
from dmm.base.paths import check_writable, home
from dmm.base.text_tables import counted
from dmm.config import Table, Trial, edited_code
from dmm.contract import require
from dmm.results.sources import find_results
from dmm.sweeps.cluster import check_ray, ray_running
from dmm.sweeps.place import Place
from dmm.sweeps.profile import Profile, check_batches, trials_at_once
from dmm.sweeps.progress import SweepProgress
from dmm.sweeps.workers import ENVIRONMENT, train_trial
from dmm.tracking.mlflow_store import Recorder
from dmm.trials.run import check, repair
from dmm.trials.storage import hold_table, load_training
from dmm.trials.taking_over import take_over_all
from dmm.trials.weights import must_train, note

MAX_RETRIES = 2  # of a trial after its process died. It continues from its checkpoint
QUIET = {  # for the driver: Tune's own reporters are off
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
}


@dataclass(frozen=True)
class SweepCounts:
    """How a sweep ended: numbers of trials."""

    total: int
    done: int
    failed: int
    unsent: int  # results that MLflow has not taken

    @property
    def left(self) -> int:
        """Trials that are neither done nor failed: the sweep was stopped."""
        return self.total - self.done - self.failed


def sweep(
    table: Table,
    profile: Profile,
    uri: str | None = None,
    say: Callable[[str], None] = print,
    retrain: bool = False,
    take_from: str = "",
    on_start: Callable[[], None] = lambda: None,
) -> SweepCounts:
    """Runs the unfinished trials of a table. Finished trials are not run again, and kept weights are not trained again.

    With `retrain` a trial is trained again if its weights are missing and its training is beyond them. `take_from` is a place
    from which finished trials are taken over first. `on_start` is called when Ray runs and the first trial begins. From then on
    Ctrl-C and SIGTERM end the sweep in order.

    Raises ValueError before any work for wrong data, a place without results, a model that breaks the contract, a profile that
    does not fit the cluster, a cluster that does not answer, or an unusable MLflow. Raises Held if another process sweeps the
    table.
    """
    trials = table.trials()
    check_batches(profile, trials)
    elsewhere = find_results(take_from).results(table) if take_from else {}
    check_writable(home(), "results (DMM_HOME)")
    with hold_table(table):
        recorder = Recorder(uri)
        if edited := edited_code(trials):
            say(edited)
        if take_from:
            take_over_all(table, elsewhere, take_from, say)
        ready = list(filter(prepare, trials))  # all of them are noted before any is trained
        progress = SweepProgress(table, trials, recorder, say)
        if pending := progress.start():
            check_ray()
        to_train = {trial.weights_id: trial for trial in ready if must_train(trial)}
        for ids in {trial.dataset: None for trial in to_train.values()}:
            say(f"data: {data.load(ids).summary()}")  # here, because otherwise all workers could collect it at once
        for trial in ready:
            check(trial)
        for source, overrides in {(trial.source, trial.overrides): None for trial in trials if trial.source}:
            require(source, dict(overrides))
        say(
            f"{table.name}: {counted(len(trials), 'trial')}, {len(trials) - len(pending)} of them finished before; "
            f"{len(to_train) or 'nothing'} to train, {len(pending) or 'nothing'} to evaluate"
        )
        try:
            if pending:
                run_tune(pending, profile, progress, retrain, on_start)
        except KeyboardInterrupt:
            pass  # SweepCounts.left tells the caller
        finally:
            progress.close()
    count = progress.status.count
    return SweepCounts(total=len(trials), done=count["finished"], failed=count["failed"], unsent=len(progress.unsent))


def prepare(trial: Trial) -> bool:
    """Notes what a trial wants, and repairs its files. False if a right is missing. Then the trial will fail, and say so."""
    try:
        note(trial)
        repair(trial)
        load_training(trial)
    except OSError as error:
        if error.errno not in NO_RIGHT:
            raise
        return False
    return True


def run_tune(
    trials: list[Trial], profile: Profile, progress: SweepProgress, retrain: bool, on_start: Callable[[], None]
) -> None:
    """Runs trials through Ray Tune. Tune's own files are deleted: a sweep resumes from the folders of its trials."""
    os.environ |= QUIET
    logging.getLogger("ray.tune").setLevel(logging.ERROR)  # its advice is about files that no sweep resumes from
    # it logs a traceback for each failed try, and SweepProgress has a line for that
    logging.getLogger("ray.tune.execution.tune_controller").setLevel(logging.CRITICAL)
    with ray_running(ENVIRONMENT):
        stop_at_sigterm()  # with Ray's own handler the sweep would not close
        fit(trials, profile, progress, retrain, on_start)


def fit(
    trials: list[Trial], profile: Profile, progress: SweepProgress, retrain: bool, on_start: Callable[[], None]
) -> None:
    """Runs trials where Ray runs. Raises ValueError if they do not fit the nodes."""
    import ray
    from ray import tune

    from dmm.sweeps.nodes import check_nodes

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    at_once = trials_at_once(profile, nodes)
    place = Place.here(trials)
    check_nodes(trials, place)
    progress.say(f"profile {profile.name}: {at_once} at once, {profile} a trial")
    scratch = home() / "tune" / progress.table.name
    shutil.rmtree(scratch, ignore_errors=True)
    bundles: list[dict[str, float]] = [{"CPU": profile.cpus}, *({"CPU": 1} for _ in range(profile.rollout_actors))]
    if profile.group:
        # Tune does not count the group's workers. So the trial itself takes no CPU for which they would wait
        bundles = [{"memory": 1_000_000}]
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(train_trial, trials=progress.trials, profile=profile, place=place, retrain=retrain),
            tune.PlacementGroupFactory(bundles),
        ),
        param_space={"trial": tune.grid_search([trial.returns_id for trial in trials])},
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            max_concurrent_trials=at_once,
            trial_name_creator=lambda trial: trial.config["trial"],
            trial_dirname_creator=lambda trial: trial.config["trial"],
        ),
        run_config=tune.RunConfig(
            name=progress.table.name,
            storage_path=str(home() / "tune"),
            failure_config=tune.FailureConfig(max_failures=MAX_RETRIES),
            callbacks=[callback(progress)],
            verbose=0,
        ),
    )
    on_start()
    tuner.fit()


def stop_at_sigterm() -> None:
    """Makes SIGTERM, which a cluster sends, equal to Ctrl-C."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


def callback(progress: SweepProgress):
    """A callback that passes Tune's events to SweepProgress."""
    from ray import tune

    class PassEvents(tune.Callback):
        def on_trial_start(self, iteration, trials, trial, **info):
            progress.status.set(trial.config["trial"], "running")
            progress.line()

        def on_trial_result(self, iteration, trials, trial, result, **info):
            if "waits for" in result:
                progress.waits(trial.config["trial"], result["waits for"])
            else:
                progress.push(trial.config["trial"])
            progress.line()

        def on_trial_complete(self, iteration, trials, trial, **info):
            if reason := trial.last_result.get("failed"):
                progress.died(trial.config["trial"], reason)
            else:
                progress.push(trial.config["trial"])
            progress.line()

        def on_trial_recover(self, iteration, trials, trial, **info):
            progress.say(f"{progress.name(trial.config['trial'])} goes on after an error: {last_error(trial)}")

        def on_trial_error(self, iteration, trials, trial, **info):
            progress.died(trial.config["trial"], f"given up after {MAX_RETRIES + 1} attempts: {last_error(trial)}")
            progress.line()

    return PassEvents()


def last_error(trial) -> str:
    """The last line of the last error of Tune's trial."""
    # from the driver's own file: get_error() reads a copy, which Tune has not always made by then
    return Path(trial.error_file).read_text().strip().splitlines()[-1]
