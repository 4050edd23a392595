"""The work of each table: sampling, the scan, an update, rollouts. Sizes are those of the papers. Data are synthetic."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import torch

from dmm import kernels
from dmm.bench import baselines
from dmm.bench.timing import BenchmarkCase, TimingBudget, Workload
from dmm.config import Evaluation, Training, Trial
from dmm.data.trajectories import Trajectories, assemble
from dmm.data.windows import sample_batch
from dmm.kernels import scan
from dmm.models import DecisionModel
from dmm.rollouts.history import StateStatistics
from dmm.rollouts.rollout import evaluate
from dmm.tasks import Task, find_task
from dmm.training.fit import init_model, make_update
from dmm.training.optimizer import init_optimizer

HOPPER = replace(  # every episode has 250 steps, whatever the policy does
    find_task("hopper"), horizon=250, options=(("terminate_when_unhealthy", False),)
)
SIZES = {  # architecture, context length, overrides of its Config: as in the papers
    "DMM v2 (K 8, width 64)": ("metamamba", 8, {}),
    "Decision Mamba (K 20, width 128)": ("decision_mamba", 20, {}),
    "DT (K 20, width 128)": ("dt", 20, {}),
}


def one_unit(function: Callable[[], object]) -> Workload:
    """A workload whose call is one unit."""

    def workload() -> int:
        function()
        return 1

    return workload


@cache
def synthetic_data(episodes: int) -> Trajectories:
    """Episodes of 200 to 1000 steps in Hopper's dimensions. All values are noise."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(200, 1001, episodes)
    count = int(lengths.sum())
    return assemble(
        "synthetic",
        generator.standard_normal((count, HOPPER.spaces.state_dim), np.float32),
        generator.uniform(-1, 1, (count, HOPPER.spaces.action_dim)).astype(np.float32),
        generator.uniform(0, 4, count).astype(np.float32),
        np.concatenate([[0], np.cumsum(lengths)]),
        np.zeros(episodes, bool),
    )


def synthetic_trial(
    arch: str, context_length: int, overrides: Mapping[str, object], updates: int = 100_000, **evaluation
) -> Trial:
    """A trial of an architecture on synthetic data."""
    return Trial(
        arch=arch,
        task=HOPPER,
        dataset=("synthetic",),
        training=Training(context_length=context_length, updates=updates, warmup=min(updates, 10_000)),
        evaluation=Evaluation(**evaluation),
        seed=0,
        overrides=tuple(overrides.items()),
    )


def statistics_of(task: Task) -> StateStatistics:
    """State statistics of synthetic data."""
    return StateStatistics(*(np.full(task.spaces.state_dim, value) for value in baselines.STATISTICS))


def sampling(budget: TimingBudget, device: str) -> Iterator[BenchmarkCase]:
    """Drawing a batch of 64 windows."""
    data = synthetic_data(20 if budget.quick else 1000)
    for k in (8, 20):
        peer = baselines.PeerSampler(data, k, HOPPER.return_scale)
        training, generator = Training(context_length=k), torch.Generator().manual_seed(0)
        yield BenchmarkCase(
            work=f"K {k}, batch 64",
            unit="batch",
            peers={"Python loop": one_unit(lambda peer=peer: peer(64))},
            ours={
                "one gather": one_unit(
                    lambda t=training, g=generator: sample_batch(data, t, HOPPER.return_scale, HOPPER.spaces, g, 64)
                )
            },
        )


SCANS = {"indexed loop": baselines.indexed_scan, "lean loop": baselines.lean_scan, "mambapy": baselines.mambapy_scan}


def installed_scans() -> tuple[dict[str, baselines.Scan], dict[str, str]]:
    """The peers' scans that are installed, and the reasons why others are missing."""
    module, reason = baselines.optional_package("mambapy")
    missing = {} if module else {"mambapy": reason}
    return {name: peer for name, peer in SCANS.items() if name not in missing}, missing


def scanning(budget: TimingBudget, device: str) -> Iterator[BenchmarkCase]:
    """The selective scan, forward and backward, batch 64, 16 states."""
    peers, missing = installed_scans()
    for length, width in ((24, 64),) if budget.quick else ((24, 64), (60, 256)):
        shapes = [(64, length, width)] * 3 + [(width, 16)] + [(64, length, 16)] * 2 + [(width,)]
        values = [torch.randn(shape, device=device) for shape in shapes]
        values[3] = -values[3].exp()
        channels_first = [v.transpose(1, 2).contiguous() if v.dim() == 3 else v for v in values]

        def gradients(run: Callable, inputs: list[torch.Tensor]) -> Workload:
            inputs = [value.detach().clone().requires_grad_() for value in inputs]
            weight = torch.randn_like(inputs[0])
            return one_unit(lambda: torch.autograd.grad(run(*inputs), inputs, weight))

        ours = {kernels.path(device): gradients(kernels.selective_scan, values)}
        if device == "cpu":
            ours["PyTorch, gradient by hand"] = gradients(scan.fast, values)
        yield BenchmarkCase(
            work=f"T {length}, D {width}",
            unit="call",
            peers={name: gradients(peer, channels_first) for name, peer in peers.items()},
            ours=ours,
            missing=missing,
        )


def update_workload(trial: Trial, data: Trajectories, device: str) -> Workload:
    """The body of our training loop."""
    model = init_model(trial).to(device).train()
    generator = torch.Generator(device).manual_seed(0)
    update = make_update(trial, data, model, init_optimizer(model, trial.training), generator)
    done = itertools.count()
    return one_unit(lambda: update(next(done)))


def training(budget: TimingBudget, device: str) -> Iterator[BenchmarkCase]:
    """A whole update, batch 64: sampling, forward, backward, clipping, optimiser."""
    data = synthetic_data(20 if budget.quick else 1000)
    for work, (arch, k, overrides) in SIZES.items():
        trial = synthetic_trial(arch, k, overrides)
        ours = {"dmm": update_workload(trial, data, device)}
        if arch == "dt":
            bfloat16 = replace(trial, training=replace(trial.training, dtype="bfloat16"))
            ours["dmm, bfloat16"] = update_workload(bfloat16, data, device)
        models, missing = peer_models(trial)
        sampler = baselines.PeerSampler(data, k, HOPPER.return_scale)
        peers = {
            name: one_unit(baselines.make_peer_update(model.to(device).train(), sampler, device))
            for name, model in models.items()
        }
        if device != "cpu":
            peers["dmm, eager"] = one_unit(eager_update(trial, data, device))
        yield BenchmarkCase(work=work, unit="update", peers=peers, ours=ours, missing=missing)


def eager_update(trial: Trial, data: Trajectories, device: str) -> Callable[[], float]:
    """An update of our model by the scripts' loop, which waits for the device at each update."""
    generator = torch.Generator(device).manual_seed(0)
    model = init_model(trial).to(device).train()
    return baselines.make_peer_update(
        model,
        lambda size: sample_batch(
            data, trial.training, HOPPER.return_scale, HOPPER.spaces, generator, size, model.needs
        ),
        device,
    )


def peer_models(trial: Trial) -> tuple[dict[str, torch.nn.Module], dict[str, str]]:
    """A trial's model as its peers compute it, and the reasons why peers are missing."""
    if trial.arch == "dt":
        module, reason = baselines.optional_package("transformers")
        if module is None:
            return {}, {"transformers": reason}
        sizes = (trial.training.context_length, 128, 3)
        return {"transformers": baselines.PeerTransformer(trial.task.spaces, *sizes)}, {}
    scans, missing = installed_scans()
    return {name: baselines.peer_model(init_model(trial), peer) for name, peer in scans.items()}, missing


def rolling(budget: TimingBudget, device: str) -> Iterator[BenchmarkCase]:
    """Hopper without its early end and AntMaze, with untrained policies.

    A peer rolls one episode after the other. We roll 100 episodes in two batches of 50.
    """
    sizes = {name: size for name, size in SIZES.items() if size[0] != "decision_mamba"}
    for work, (arch, k, overrides) in sizes.items():
        trial = synthetic_trial(arch, k, overrides, episodes_per_evaluation=4 if budget.quick else 100)
        trial = replace(trial, task=replace(HOPPER, horizon=10 if budget.quick else HOPPER.horizon))
        model = init_model(trial).to(device)

        def episode(peer: torch.nn.Module, env=trial.task.make(), trial: Trial = trial) -> int:
            task, k = trial.task, trial.training.context_length
            _, length = baselines.peer_episode(
                peer, env, k, task.horizon, task.target_return, task.return_scale, 0, device
            )
            return length

        models, missing = peer_models(trial)
        peers = {
            f"{name}, batch 1": lambda peer=peer.to(device): episode(peer)
            for name, peer in models.items()
            if name != "lean loop"
        }
        recurrent = "K/V cache" if arch == "dt" else "recurrent"
        ours = {
            "dmm, windowed": rollouts(trial, model, "windowed"),
            f"dmm, {recurrent}": rollouts(trial, model, "recurrent"),
        }
        yield BenchmarkCase(work=f"{work}, Hopper", unit="environment step", peers=peers, ours=ours, missing=missing)
    yield antmaze(budget, device)


def rollouts(trial: Trial, model: DecisionModel, mode: str) -> Workload:
    """The last evaluation of a trial, by windows or step by step."""
    trial = replace(trial, evaluation=replace(trial.evaluation, rollout=mode))

    def workload() -> int:
        results = evaluate(model, trial, statistics_of(trial.task), trial.training.updates)
        return sum(sum(result.lengths) for result in results)

    return workload


def antmaze(budget: TimingBudget, device: str) -> BenchmarkCase:
    """DMM v2 in AntMaze beside the environment alone, which is the limit. The ratio is its share of the limit."""
    trial = synthetic_trial("metamamba", 8, {}, episodes_per_evaluation=4 if budget.quick else 50)
    trial = replace(trial, task=replace(find_task("antmaze-umaze"), horizon=10 if budget.quick else 100))
    env, generator, model = trial.task.make(), np.random.default_rng(0), init_model(trial).to(device)

    def bare() -> int:
        env.reset(seed=0)
        for _ in range(trial.task.horizon):
            env.step(generator.uniform(-0.1, 0.1, trial.task.spaces.action_dim))  # about those of an untrained model
        return trial.task.horizon

    ours = {f"dmm, {mode}": rollouts(trial, model, mode) for mode in ("windowed", "recurrent")}
    return BenchmarkCase(
        work="DMM v2 (K 8, width 64), AntMaze",
        unit="environment step",
        peers={"the environment alone": bare},
        ours=ours,
    )
