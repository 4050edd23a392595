"""Two workers that train as one: the same curve, the same weights on both, an exact resume; without Ray, over gloo."""

import copy

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from helpers.models import batch
from helpers.reacher import REACHER, parts
from helpers.synthetic_episodes import episodes

from dmm.architectures import list_models
from dmm.config import Trial
from dmm.training import ddp
from dmm.training.fit import fit
from dmm.training.state import TrainingState

# the workers have 4 rows and 3, so unequal counts of real steps
SETTINGS = parts(updates=12, num_evaluations=2, batch_size=7)


def a_trial(arch: str, **overrides) -> Trial:
    """A trial with the dropout that the architecture has by default."""
    overrides = {"width": 16, **overrides}
    return Trial(arch=arch, task=REACHER, dataset=("golden",), seed=0, overrides=tuple(overrides.items()), **SETTINGS)


def learn(trial: Trial, state: TrainingState | None = None) -> dict[int, TrainingState]:
    """The states at both evaluations."""
    visited: list[TrainingState] = []
    keep = lambda model, state: visited.append(copy.deepcopy(state))  # noqa: E731
    fit(trial, episodes(), keep, wanted=lambda update: update in trial.updates, state=state)
    return {state.progress.update: state for state in visited}


def worker(rank: int, folder: str, trials: list[Trial], resumed: Trial) -> None:
    """One of two workers: learns each trial, then one, whole and from its middle on."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = [learn(trial)[12] for trial in trials]
    whole = learn(resumed)
    torch.manual_seed(rank)  # what the world did meanwhile
    again = learn(resumed, whole[6] if rank == 0 else None)  # the others have nothing to go on from
    states = [*found, whole[12], again[12]]
    torch.save([state.to_dict() for state in states], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(
    scope="module",
    params=[["dt", "metamamba"], pytest.param(list_models(), marks=pytest.mark.slow)],
    ids=["two", "all"],
)
def learnt(tmp_path_factory, request) -> tuple[list[Trial], list]:
    """Some architectures, learnt by two workers."""
    folder, trials = tmp_path_factory.mktemp("workers"), [a_trial(arch) for arch in request.param]
    processes.spawn(worker, (str(folder), trials, a_trial("dt", dropout=0.2)), nprocs=2)
    loaded = (torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    return trials, [[TrainingState.from_dict(state) for state in states] for states in loaded]


def test_two_workers_give_the_curve_of_one(learnt):
    trials, results = learnt
    for trial, first, second in zip(trials, *results):
        alone = learn(trial)[12]
        losses = [point.loss for point in alone.progress.loss]
        assert len(losses) == 12
        for state in (first, second):
            found = [point.loss for point in state.progress.loss]
            assert found == pytest.approx(losses, rel=1e-4), trial.arch
        for name, value in alone.model.items():
            assert torch.equal(first.model[name], second.model[name]), (trial.arch, name)
            torch.testing.assert_close(first.model[name], value, rtol=1e-3, atol=1e-4)


def test_two_workers_resume_exactly(learnt):
    for *_, whole, again in learnt[1]:
        assert again.progress.loss == whole.progress.loss
        assert all(torch.equal(again.model[name], value) for name, value in whole.model.items())


def test_a_batch_of_one_worker_is_left_alone():
    data = batch()
    assert ddp.local_rows(data) == (data, 1.0) and ddp.broadcast_state(None) is None
    assert (ddp.rank(), ddp.workers()) == (0, 1)
