"""The driver of a sweep: Ray Tune over a table's unfinished trials, with progress; resumed by the same command."""

import logging
import os
import shutil
import signal
import threading
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path

from dmm.collect import ensure
from dmm.config import Table, Trial, check_fields
from dmm.home import check_writable, home
from dmm.progress import Progress
from dmm.record import Recorder
from dmm.run import check
from dmm.storage import hold_table
from dmm.suggest import unknown
from dmm.workers import ENVIRONMENT, train_trial

RETRIES = 2  # of a trial that dies; it goes on from its checkpoint
QUIET = {  # of the driver: no reporters but ours
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
}


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What a trial may use. On one kind of device it changes how fast numbers come, never which."""

    name: str
    cpus: int = 1  # per trial
    gpus: float = 0
    rollout_actors: int = 0  # per trial, one core each; 0: the trial rolls its own episodes
    concurrency: int = 0  # trials at once; 0: as many as fit

    def __post_init__(self) -> None:
        check_fields(self)
        if self.cpus < 1 or min(self.gpus, self.rollout_actors, self.concurrency) < 0:
            raise ValueError(f"profile {self.name} has a count that cannot be: {self}")


def profiles() -> dict[str, Path]:
    """The profiles that ship with dmm, by name: the checkout's cluster/, which a wheel holds as dmm/profiles."""
    package = Path(str(files("dmm")))
    return {
        path.stem: path for place in (package / "profiles", package.parent / "cluster") for path in place.glob("*.toml")
    }


def find_profile(name: str) -> Profile:
    """Reads a profile: a path to a TOML file, or the name of one that ships with dmm."""
    path = Path(name) if name.endswith(".toml") else profiles().get(name)
    if path is None:
        raise unknown("profile", name, profiles(), "cluster")
    if not path.is_file():
        raise ValueError(f"no profile at {path}")
    try:
        values = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"profile {path}: {error}") from None
    known = {f.name for f in fields(Profile)} - {"name"}
    for key in values:
        if key not in known:
            raise unknown("setting", key, known, f"profile {name}")
    return Profile(name=path.stem, **values)


def sweep(table: Table, profile: Profile, uri: str | None = None, say=print) -> dict[str, int]:
    """Runs what is unfinished of a table; returns how many trials are done and how many failed."""
    trials = table.trials()
    check_writable(home(), "results (DMM_HOME)")
    with hold_table(table):
        recorder = Recorder(uri)
        for ids in {trial.dataset: None for trial in trials}:
            say(f"data: {ensure(ids, say).summary()}")  # here, before workers could all collect it at once
        for trial in trials:
            check(trial)
        progress = Progress(table, trials, recorder, say)
        pending = progress.start()
        say(f"{table.name}: {len(trials)} trials, {len(trials) - len(pending)} of them finished before")
        try:
            if pending:
                run_tune(pending, profile, progress)
        except KeyboardInterrupt:
            pass  # what is left says it
        finally:
            progress.close()
    counts = progress.count
    return {
        "done": counts["finished"],
        "failed": counts["failed"],
        "total": len(trials),
        "unsent": len(progress.unsent),
    }


def run_tune(trials: list[Trial], profile: Profile, progress: Progress) -> None:
    """Runs trials through Ray Tune. Tune's own files are thrown away: a trial's folder is what a sweep goes on from."""
    os.environ |= QUIET
    for noisy in ("ray._private.authentication", "ray.tune"):  # Tune's advice is about files that nobody resumes from
        logging.getLogger(noisy).setLevel(logging.ERROR)
    import ray
    from ray import tune

    started = not ray.is_initialized()
    if started:
        address = os.environ.get("RAY_ADDRESS", "local")
        ray.init(
            address,
            runtime_env={"env_vars": ENVIRONMENT},
            log_to_driver=False,
            logging_level=logging.WARNING,
            include_dashboard=False if address == "local" else None,
        )
    stop_at_sigterm()  # Ray's own handler would skip the end of the sweep
    check_fits(profile, ray.cluster_resources())
    scratch = home() / "tune" / progress.table.name
    shutil.rmtree(scratch, ignore_errors=True)
    bundles = [{"CPU": profile.cpus, "GPU": profile.gpus}] + [{"CPU": 1}] * profile.rollout_actors
    config = {
        "trial": tune.grid_search([trial.id for trial in trials]),
        "home": str(home()),
        "actors": profile.rollout_actors,
        "device": "cuda" if profile.gpus else "cpu",
    }
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(train_trial, trials=progress.trials), tune.PlacementGroupFactory(bundles)
        ),
        param_space=config,
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            max_concurrent_trials=profile.concurrency or None,
            trial_name_creator=lambda trial: trial.config["trial"],
            trial_dirname_creator=lambda trial: trial.config["trial"],
        ),
        run_config=tune.RunConfig(
            name=progress.table.name,
            storage_path=str(home() / "tune"),
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            callbacks=[callback(progress)],
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    finally:
        if started:
            ray.shutdown()


def stop_at_sigterm() -> None:
    """Makes SIGTERM, which a cluster sends, the same as Ctrl-C."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


def check_fits(profile: Profile, cluster: Mapping[str, float]) -> None:
    """Refuses a profile of which not even one trial fits, with the arithmetic."""
    need = {"CPU": profile.cpus + profile.rollout_actors, "GPU": profile.gpus}
    for kind, amount in need.items():
        if amount > cluster.get(kind, 0):
            raise ValueError(
                f"profile {profile.name} takes {amount:g} {kind} a trial ({profile.cpus} for training, "
                f"{profile.rollout_actors} for rollout actors); the cluster has {cluster.get(kind, 0):g}"
            )


def callback(progress: Progress):
    """Tune's events, passed on to Progress."""
    from ray import tune

    class Watch(tune.Callback):
        def on_trial_start(self, iteration, trials, trial, **info):
            progress.move(trial.config["trial"], "running")
            progress.line()

        def on_trial_result(self, iteration, trials, trial, result, **info):
            progress.push(trial.config["trial"])
            progress.line()

        def on_trial_complete(self, iteration, trials, trial, **info):
            progress.push(trial.config["trial"])
            progress.line()

        def on_trial_error(self, iteration, trials, trial, **info):
            last = str(trial.get_error()).strip().splitlines()[-1]
            progress.died(trial.config["trial"], f"given up after {RETRIES + 1} attempts: {last}")
            progress.line()

    return Watch()
