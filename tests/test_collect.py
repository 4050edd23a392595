"""Collected data: ids, the policy against SAC's own actor, determinism, Minari round trip, what a crash leaves."""

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dmm import data
from dmm.base.paths import home
from dmm.data import collect
from dmm.data.collect import Behaviour, Origin, Policy, PolicyCard, policies, roll_steps
from dmm.data.inventory import inventory
from dmm.data.readers.dmm import Collection, parse, with_size
from dmm.tasks import find_task

ACTOR = {"hidden.0": (8, 10), "hidden.1": (8, 8), "mean": (2, 8), "log_std": (2, 8)}  # of Reacher: 10 states, 2 actions


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(collect, "EPISODES_PER_BATCH", 3)


def card(environment: str) -> PolicyCard:
    """The card of a policy that nobody trained."""
    return PolicyCard(
        environment=environment, algorithm="none", command="none", commit="0", steps=0, seed=0, return_mean=0.0,
        return_std=0.0, episodes=1, actions="sampled", licence="MIT", versions={},
    )  # fmt: skip


@pytest.fixture
def policy() -> Policy:
    """A random actor, published as reacher-random."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, shape in ACTOR.items():
        weights[f"{name}.weight"] = torch.randn(shape, generator=generator) / 3
        weights[f"{name}.bias"] = torch.randn(shape[0], generator=generator) / 3
    policy = Policy(weights, -np.ones(2, np.float32), np.ones(2, np.float32))
    collect.write_policy(home() / "policies" / "reacher-random.safetensors", weights, card("Reacher-v5"))
    return policy


def main_file(dataset_id: str) -> Path:
    return Path(os.environ["MINARI_DATASETS_PATH"]) / dataset_id / "data" / "main_data.hdf5"


def test_ids(policy):
    from minari.dataset.minari_dataset import parse_dataset_id

    assert parse("dmm/reacher/random-v0") == Collection("reacher", "random", 100_000, 0)
    assert parse("dmm/reacher/random-n50000-s7-v0") == Collection("reacher", "random", 50_000, 7)
    for collection in (Collection("reacher", "random"), Collection("reacher", "random", 50_000, 7)):
        assert parse(collection.id) == collection
        assert parse_dataset_id(collection.id)[0] == "dmm/reacher"
    for wrong in (
        "dmm/reacher/randm-v0",
        "dmm/reacher/random-v1",
        "dmm/reacher/random-n05-s7-v0",
        "dmm/reaher/random-v0",
    ):
        with pytest.raises(ValueError, match=f"unknown dataset '{wrong}'.*Did you mean 'dmm/reacher/random-v0'"):
            data.load((wrong,))
    with pytest.raises(ValueError, match="Collection.steps is 0"):
        with_size("dmm/reacher/random-v0", 0, None)


def test_without_a_policy_the_error_names_what_can_be_collected():
    with pytest.raises(ValueError, match="unknown dataset 'dmm/hoper/medium-v0'.*Did you mean 'dmm/hopper/medium-v0'"):
        data.load(("dmm/hoper/medium-v0",))


def test_data_of_another_source_are_not_collected(policy):
    for steps in (None, 10):
        with pytest.raises(
            ValueError,
            match="'minari/mujoco/x-v0' is not collected, because `dmm data download minari/mujoco/x-v0` gets it",
        ):
            with_size("minari/mujoco/x-v0", steps, None)
        with pytest.raises(ValueError, match="'d4rl/hopper-medium-v2' is not collected"):
            with_size("d4rl/hopper-medium-v2", steps, None)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_a_damaged_policy_collects_nothing(policy, suffix):
    path = home() / "policies" / f"reacher-random{suffix}"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"reacher-random{suffix} is damaged"):
        data.load(("dmm/reacher/random-n50-s1-v0",))
    path.unlink()
    if suffix == ".json":
        with pytest.raises(ValueError, match="reacher-random.json is not there"):
            data.load(("dmm/reacher/random-n50-s1-v0",))


@pytest.mark.parametrize("path", sorted(collect.policy_folders()[0].glob("*.safetensors")), ids=lambda path: path.stem)
def test_the_policies_of_the_package_are_whole(path):
    weights, card = collect.read_policy(path)
    task = find_task(collect.task_name(card.environment))
    assert weights["mean.bias"].shape[-1] == task.spaces.action_dim and path.stem.startswith(f"{task.name}-")


def test_other_steps_or_another_seed_are_another_id(policy):
    assert with_size("dmm/reacher/random-v0", None, None) == "dmm/reacher/random-v0"
    assert with_size("dmm/reacher/random-v0", 50, None) == "dmm/reacher/random-n50-s0-v0"
    assert with_size("dmm/reacher/random-n50-s7-v0", 100_000, 0) == "dmm/reacher/random-v0"


def test_the_kept_episodes_are_the_shortest_whole_prefix(policy):
    """Reacher's episodes have 50 steps, none ends sooner."""
    for steps, episodes in ((1, 1), (50, 1), (51, 2), (200, 4), (201, 5)):
        assert data.load((f"dmm/reacher/random-n{steps}-s1-v0",)).episodes == episodes


def test_round_trip(policy):
    """What is read back is what was rolled, by this reader and by Minari's own."""
    import minari

    said = data.load(("dmm/reacher/random-n200-s5-v0",)).summary()
    assert said.startswith("dmm/reacher/random-n200-s5-v0: 4 episodes, 200 steps")
    rolled = list(roll_steps(collect.load_policy(policies()["reacher-random"]), 5, 200))
    found = data.load(("dmm/reacher/random-n200-s5-v0",))
    assert np.array_equal(found.states, np.concatenate([e.observations[:-1] for e in rolled]).astype(np.float32))
    assert np.array_equal(found.actions, np.concatenate([e.actions for e in rolled]))
    assert np.array_equal(found.rewards, np.concatenate([e.rewards for e in rolled]).astype(np.float32))
    assert found.lengths.tolist() == [50] * 4 and not found.terminated.any()
    assert len(np.unique(found.states[found.offsets[:-1]], axis=0)) == 4  # every episode starts elsewhere
    dataset = minari.load_dataset("dmm/reacher/random-n200-s5-v0")
    assert dataset.total_steps == 200 and dataset.env_spec.id == "Reacher-v5"
    assert "dmm/reacher/random-n200-s5-v0" in minari.list_local_datasets()
    for episode, expected in zip(dataset, rolled, strict=True):
        assert np.array_equal(episode.observations, expected.observations)
        assert episode.truncations.tolist() == [False] * 49 + [True] and not episode.terminations.any()
    kept = dataset.storage.metadata["dmm"]
    assert (kept["policy"], kept["seed"], kept["steps"], kept["episodes_per_batch"]) == ("reacher-random", 5, 200, 3)
    assert kept["card"]["environment"] == kept["environment"] == "Reacher-v5" and kept["versions"]["mujoco"]


def test_reference_scores_are_the_task_s(policy):
    """Hopper is a task: its D4RL scores go with the data."""
    import minari

    episode = collect.Episode(np.zeros((3, 11)), np.zeros((2, 3), np.float32), np.ones(2), True)
    made = Behaviour(card=card("Hopper-v5"), make=find_task("hopper").make, begins=(policy.begin,))
    collect.write("dmm/hopper/made-v0", [episode], made, Origin(policy="none", seed=0))
    dataset = minari.load_dataset("dmm/hopper/made-v0")
    assert minari.get_normalized_score(dataset, np.array([-20.272305, 3234.3])).tolist() == [0, 1]
    assert data.load(("dmm/hopper/made-v0",)).terminated.tolist() == [True]


def test_collecting_is_deterministic_in_the_seed(policy, monkeypatch, tmp_path):
    ids = ["dmm/reacher/random-n120-s0-v0", "dmm/reacher/random-n120-s1-v0"]
    first = [data.load((dataset_id,)).sha256 for dataset_id in ids]
    files = [main_file(dataset_id).read_bytes() for dataset_id in ids]
    shutil.copytree(home() / "policies", tmp_path / "home" / "policies")
    monkeypatch.setenv("DMM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "elsewhere"))
    assert [data.load((dataset_id,)).sha256 for dataset_id in ids] == first and first[0] != first[1]
    assert [main_file(dataset_id).read_bytes() for dataset_id in ids] == files


def test_collecting_leaves_the_threads_of_torch_as_they_are(policy):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        data.load(("dmm/reacher/random-n50-s0-v0",))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_dataset_that_is_here_is_not_rolled_again(policy, monkeypatch):
    first = data.load(("dmm/reacher/random-n60-s0-v0",))

    def forbid(*_):
        raise AssertionError("rolled again")

    monkeypatch.setattr(collect, "roll", forbid)
    assert data.load(("dmm/reacher/random-n60-s0-v0",)).summary() == first.summary()


def test_a_crash_leaves_nothing_that_is_taken_for_whole(policy, monkeypatch):
    from minari.dataset._storages.hdf5_storage import HDF5Storage

    dataset_id, original = "dmm/reacher/random-n60-s0-v0", HDF5Storage.update_episodes

    def crash(self, episodes):
        original(self, [next(iter(episodes))])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(HDF5Storage, "update_episodes", crash)
        data.load((dataset_id,))
    assert not data.is_present(dataset_id) and data.local_ids() == []
    assert not list(main_file("dmm/reacher").parent.parent.iterdir())
    assert data.load((dataset_id,)).episodes == 2


def test_inventory(policy, tmp_path, reacher_file):
    data.load(("dmm/reacher/random-n100-s0-v0",))
    data.load((f"d4rl:{reacher_file}",))
    bad = home() / "d4rl" / "bad.hdf5"
    bad.parent.mkdir()
    bad.write_text("not HDF5")
    rows = {row.id: row for row in inventory()}
    ours = [name for name in rows if re.search("reacher|bad", name)]  # those of the package can be collected too
    assert ours == ["d4rl/bad", f"d4rl:{reacher_file}", "dmm/reacher/random-n100-s0-v0", "dmm/reacher/random-v0"]
    assert str(bad) in rows["d4rl/bad"].source and rows["d4rl/bad"].episodes is None
    assert rows["dmm/reacher/random-v0"].source == "collected on first use"
    row, found = rows["dmm/reacher/random-n100-s0-v0"], data.load(("dmm/reacher/random-n100-s0-v0",))
    assert (row.episodes, row.steps, row.length_mean, row.sha256) == (2, 100, 50.0, found.sha256[:12])
    assert row.return_mean == pytest.approx(float(found.rewards.sum()) / 2, abs=0.06)
    assert row.return_min <= row.return_mean <= row.return_max
    assert row.source == str(main_file("dmm/reacher/random-n100-s0-v0"))


def test_policies_of_one_file_collect_equal_shares_of_the_steps(policy):
    weights = {name: torch.zeros(2, *value.shape) for name, value in policy.weights.items()}
    weights["mean.bias"] += torch.tensor([[-100.0], [100.0]])  # actions are always -1, and always 1
    collect.write_policy(home() / "policies" / "reacher-both.safetensors", weights, card("Reacher-v5"))
    found = data.load(("dmm/reacher/both-n300-s1-v0",))
    assert found.episodes == 6 and (found.actions[:150] == -1).all() and (found.actions[150:] == 1).all()


def test_mixed_is_ten_policies_at_equal_distances_on_the_way_to_medium(policy):
    from dmm.data.behaviour import publish, write_mixed

    folder = home() / "run"
    for number in range(1, 12):
        weights = {name: value + number / 100 for name, value in policy.weights.items()}
        made = replace(card("Reacher-v5"), steps=number * 10)
        collect.write_policy(folder / f"step-{number * 10}.safetensors", weights, made)
        if number == 10:
            collect.write_policy(folder / "medium.safetensors", weights, made)
    write_mixed(folder)
    weights, found = collect.read_policy(folder / "mixed.safetensors")
    assert found.algorithm.endswith("after 10, 20, 30, 40, 50, 60, 70, 80, 90, 100 steps") and found.episodes == 100
    assert weights["mean.bias"].dtype == torch.float16 and found.return_mean < 0 and found.return_std > 0
    expected = torch.stack([policy.weights["mean.bias"] + number / 100 for number in range(1, 11)])
    torch.testing.assert_close(weights["mean.bias"].float(), expected, atol=1e-3, rtol=1e-3)
    publish(folder)
    assert {"reacher-mixed", "reacher-medium"} <= set(policies())
    (folder / "step-20.safetensors").unlink()
    (folder / "mixed.json").unlink()
    write_mixed(folder)
    assert not (folder / "mixed.json").exists()  # nine are too few


def test_a_run_that_ends_below_the_bound_publishes_its_best_policy_in_the_place_of_an_expert():
    pytest.importorskip("stable_baselines3")
    from dmm.data.behaviour import Recipe, train

    folder = train(Recipe("Reacher-v5", 0, (-1e6, 0.0), 0.0, steps=120, interval=60, width=8, batch_size=8))
    assert "reacher-best" in policies() and "reacher-expert" not in policies()
    highest = max(collect.read_card(folder / f"step-{steps}.json").return_mean for steps in (60, 120))
    assert collect.read_card(home() / "policies" / "reacher-best.json").return_mean == highest


def test_behaviour_training_publishes_its_policies_and_replay(capsys):
    """The actor's weights give SAC's own actions; one checkpoint reaches both levels."""
    stable_baselines3 = pytest.importorskip("stable_baselines3")
    from dmm.data.behaviour import Recipe, actor_weights, load_replay, reached, train

    model = stable_baselines3.SAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8, 8]}, device="cpu", seed=0)
    space = model.env.action_space  # Pendulum's goes from -2 to 2
    states = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    ours = Policy(actor_weights(model), space.low, space.high)(states, np.zeros((5, 1)))
    np.testing.assert_allclose(ours, model.predict(states, deterministic=True)[0], atol=1e-5)

    recipe = Recipe("Reacher-v5", 0, (-1e6, 0.0), -1e6, steps=120, interval=120, width=8, batch_size=8)
    folder = train(recipe)
    assert reached(folder) == ["medium", "expert"]
    assert "100%, 120/120, " in capsys.readouterr().err
    assert {"reacher-medium", "reacher-expert"} <= set(policies())
    assert (folder / "step-120.safetensors").read_bytes() == (folder / "medium.safetensors").read_bytes()
    replay = data.load(("dmm/reacher/medium-replay-v0",))
    assert replay.lengths.tolist() == [50, 50]  # of 120 steps; the last 20 are no episode
    buffer = load_replay(folder / "medium-replay.npz")
    assert np.array_equal(replay.rewards, buffer.rewards[:100])
    assert np.array_equal(replay.actions, buffer.actions[:100])
    card = collect.read_card(home() / "policies" / "reacher-medium.json")
    assert card.command.startswith("dmm data train-behaviour Reacher-v5 --seed 0") and card.steps == 120
    (folder / "progress.json").rename(folder / "kept")
    (folder / "progress.json").write_bytes((folder / "kept").read_bytes().replace(b"120", b"121", 1))
    with pytest.raises(ValueError, match="progress.json is damaged or gone .*Move its folder away"):
        train(recipe)
    (folder / "kept").rename(folder / "progress.json")
    for path in (folder / "model-120.pt", folder / "replay-120.npz"):
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        with pytest.raises(ValueError, match=f"{path.name} is damaged or gone"):
            train(recipe)
        path.write_bytes(content)
    capsys.readouterr()
    assert train(recipe) == folder and not capsys.readouterr().err  # finished: nothing is left to do
