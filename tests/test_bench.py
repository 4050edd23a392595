"""dmm bench: its arithmetic on synthetic times, peers that compute the same as our code, and missing peers."""

import csv
import importlib
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from helpers.reacher import REACHER
from torch.testing import assert_close

from dmm.bench import baselines, bench, cases, concurrent, frames
from dmm.bench.cases import HOPPER, synthetic_data, synthetic_trial
from dmm.bench.timing import BenchmarkCase, TimingBudget, compare, interleaved
from dmm.data.windows import read_windows
from dmm.kernels import scan
from dmm.rollouts.history import StateStatistics
from dmm.rollouts.rollout import rollout
from dmm.training.fit import init_model


class ManualClock:
    """A clock that only a workload advances."""

    def __init__(self):
        self.now, self.log = 0.0, []

    def __call__(self):
        return self.now

    def workload(self, name, cost, units=1):
        def workload():
            self.now += cost
            self.log.append(name)
            return units

        return workload


def test_rounds_are_interleaved_and_count_seconds_a_unit():
    clock = ManualClock()
    workloads = {"a": clock.workload("a", 0.5, units=2), "b": clock.workload("b", 3.0)}
    times = interleaved(workloads, TimingBudget(rounds=2, min_seconds=1.0), clock)
    assert times == {"a": [0.25, 0.25], "b": [3.0, 3.0]}
    assert "".join(clock.log) == "aab" + 2 * "aab"  # a is short: it is timed twice, then repeated in each turn


def test_a_row_has_medians_and_the_extreme_ratios_of_rounds():
    case = BenchmarkCase(work="w", unit="call", peers={"p": len, "q": len}, ours={"us": len})
    times = {"p": [4.0, 9.0, 2.0], "q": [1.0, 1.0, 1.0], "us": [1.0, 3.0, 0.25]}
    first, second = compare("t", case, times)
    assert (first.baseline, first.ours, first.baseline_ms, first.ours_ms) == ("p", "us", 4000.0, 1000.0)
    assert (first.ratio, first.lowest, first.highest, first.rounds) == (4.0, 3.0, 8.0, 3)  # of 4, 3 and 8
    assert (second.baseline, second.ratio) == ("q", 1.0)


@pytest.mark.parametrize("name", cases.SCANS)
def test_scans_of_the_peers_are_the_scan(name):
    if name == "mambapy":
        pytest.importorskip("mambapy")
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 7, 3)] * 3 + [(3, 4)] + [(2, 7, 4)] * 2 + [(3,)]
    ours = [torch.randn(shape, generator=generator) for shape in shapes]
    ours[3] = -ours[3].exp()
    peers = [value.transpose(1, 2).contiguous() if value.dim() == 3 else value.clone() for value in ours]
    outputs, gradients = [], []
    for run, values in ((scan.reference, ours), (cases.SCANS[name], peers)):
        values = [value.requires_grad_() for value in values]
        y = run(*values)
        outputs.append(y)
        gradients.append(torch.autograd.grad(y.square().sum(), values))
    assert_close(outputs[1].transpose(1, 2), outputs[0], rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(*gradients, strict=True):
        assert_close(theirs.transpose(1, 2) if theirs.dim() == 3 else theirs, mine, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arch", ["metamamba", "decision_mamba"])
def test_models_of_the_peers_are_the_models(arch):
    trial = synthetic_trial(arch, 4, {"width": 16, "dropout": 0.0})
    ours = init_model(trial)
    for parameter in ours.parameters():  # no weight may be without effect
        parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    theirs = baselines.peer_model(ours, baselines.indexed_scan)
    assert not any(isinstance(module, baselines.SelectiveSSM) for module in theirs.children())
    batch = read_windows(synthetic_data(5), torch.tensor([0, 3, 700]), trial.training, 1000.0, HOPPER.spaces)
    states = batch.states.requires_grad_()
    outputs = [model(batch) for model in (ours, theirs)]
    assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-6)
    for pair in zip(*(torch.autograd.grad(y.square().sum(), [states]) for y in outputs), strict=True):
        assert_close(*pair, rtol=1e-3, atol=1e-6)


def test_batches_of_the_loop_are_windows_of_ours():
    data, k = synthetic_data(20), 8
    batch = baselines.PeerSampler(data, k, 1000.0)(64)
    first = batch.mask.int().argmax(1)
    states = batch.states[torch.arange(64), first].double() * (data.state_std + 1e-6) + data.state_mean
    drawn = torch.from_numpy(np.abs(data.states[None, :, 0] - states[:, :1].numpy()).argmin(1))
    ours = read_windows(data, drawn, synthetic_trial("dt", k, {}).training, 1000.0, HOPPER.spaces)
    assert (batch.mask.sum(1) < k).any()  # some window ends with its episode
    for name in ("states", "actions", "returns_to_go"):
        assert_close(getattr(batch, name), getattr(ours, name), rtol=1e-3, atol=1e-4)
    assert torch.equal(batch.steps, ours.steps) and torch.equal(batch.mask, ours.mask)


def test_an_episode_of_the_loop_is_one_of_our_rollouts():
    trial = replace(synthetic_trial("metamamba", 4, {"width": 16}), task=replace(REACHER, horizon=20))
    model, k = init_model(trial), trial.training.context_length
    found = baselines.peer_episode(model, REACHER.make(), k, 20, REACHER.target_return, REACHER.return_scale, 7, "cpu")
    statistics = StateStatistics(*(np.full(REACHER.spaces.state_dim, value) for value in baselines.STATISTICS))
    (value,), (length,) = rollout(model, trial, statistics, [REACHER.target_return], [7])
    assert found == (pytest.approx(value, rel=1e-4), length)


def test_an_update_of_the_scripts_learns():
    trial = synthetic_trial("metamamba", 4, {"width": 16})
    sampler = baselines.PeerSampler(synthetic_data(5), 4, 1000.0)
    peer = baselines.peer_model(init_model(trial), baselines.lean_scan)
    update = baselines.make_peer_update(peer, sampler, "cpu")
    assert np.isfinite([update() for _ in range(3)]).all()
    update = cases.eager_update(trial, synthetic_data(5), "cpu")  # a row of its own on a GPU
    assert np.isfinite([update() for _ in range(3)]).all()


def test_a_missing_peer_is_named_and_left_out(monkeypatch):
    real = importlib.import_module
    monkeypatch.setattr(
        importlib, "import_module", lambda name: real("dmm.no_" + name) if name == "mambapy" else real(name)
    )
    (case,) = cases.scanning(TimingBudget(quick=True), "cpu")
    assert "mambapy" not in case.peers and "indexed loop" in case.peers
    assert "bench" in case.missing["mambapy"]


def test_a_quick_run_writes_its_files(tmp_path):
    said = []
    paths = bench("sample", tmp_path, "cpu", True, said.append)
    assert [path.name for path in paths] == ["bench.md", "bench.csv"]
    rows = list(csv.DictReader((tmp_path / "bench.csv").open()))
    assert [row["work"] for row in rows] == ["K 8, batch 64", "K 20, batch 64"]
    assert all(float(row["baseline_ms"]) > 0 and float(row["ours_ms"]) > 0 for row in rows)
    text = (tmp_path / "bench.md").read_text()
    assert (
        "GFLOP/s" in text
        and "| K 8, batch 64 | batch | Python loop |" in " ".join(text.split())
        and "GFLOP/s" in said[0]
    )


@pytest.mark.parametrize(
    ("what", "device", "said"), [("skan", "cpu", "Did you mean 'scan'"), ("scan", "cuda", "no GPU")]
)
def test_an_impossible_measurement_is_an_error(what, device, said, tmp_path):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match=said):
        bench(what, tmp_path, device, True, print)


def test_trials_that_share_a_device_are_counted_together(monkeypatch):
    """One process takes 2 s for five updates, three at once take 4 s: 3.75 updates/s, and 2.5 alone."""
    monkeypatch.setattr(concurrent, "group_seconds", lambda processes, seconds: {1: 2.0, 3: 4.0}[processes])
    lines = concurrent.trials_on_one_device("cpu", quick=True, processes=3).splitlines()[-len(concurrent.SYSTEMS) :]
    rows = [" ".join(line.split()) for line in lines]
    assert rows == [f"| {system} | 4 | 2 | x1.5 | 1.5 to 1.5 |" for system in concurrent.SYSTEMS]
    assert concurrent.cells("w", [(4, 2), (9, 3), (2, 8)]) == ("w", "4", "3", "x2", "0.25 to 3")


def test_windows_of_frames_by_the_loop_are_ours():
    data, training = frames.synthetic_frames(500), frames.atari_trial(quick=True).training
    rows = torch.tensor([0, 48, 49, 50, 333, 499])
    ours, (stacks, actions, returns) = frames.windows(data, rows, training), frames.peer_windows(data, rows, 4)
    stacked = ours.states.unfold(1, 4, 1).permute(0, 1, 4, 2, 3)
    assert torch.equal((stacks * 255).round().byte().view_as(stacked), stacked)
    assert torch.equal(actions, ours.actions) and torch.equal(returns, ours.returns_to_go)


@pytest.mark.slow
def test_two_processes_make_updates_at_once():
    assert concurrent.group_seconds(2, partial(concurrent.update_seconds, concurrent.SYSTEMS[0], "cpu", 2)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("what", ["scan", "train", "rollout", "atari", "trials", "growth"])
def test_every_table_runs(what, tmp_path):
    if what in ("train", "rollout", "atari"):
        pytest.importorskip("transformers")
    assert all(path.stat().st_size for path in bench(what, tmp_path, "cpu", True, print))
