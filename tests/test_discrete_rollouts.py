"""Rollouts on frames and discrete actions: what is kept of frames, how actions are chosen, and where episodes stop."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from helpers.reacher import REACHER, parts

from dmm.architectures import find_model
from dmm.batch import Batch, Spaces
from dmm.config import BUDGETS, Column, Evaluation, Protocol, Row, Table, Trial
from dmm.data.frames import STACK
from dmm.models import DecisionModel
from dmm.report.notes import describe
from dmm.rollouts.actions import sample
from dmm.rollouts.history import RecurrentHistory, StateStatistics, WindowedHistory
from dmm.rollouts.rollout import evaluate, rollout
from dmm.tasks import find_task
from dmm.training.fit import init_model

K, SIZE = 3, 36  # frames of 36 x 36 are the smallest that the encoder takes
PIXELS = Spaces(states=(STACK, SIZE, SIZE), actions=5, discrete=True)
FRAMES = replace(REACHER, name="frames", spaces=PIXELS, horizon=27_000, return_scale=1.0)
CARTPOLE = replace(
    REACHER, name="cartpole", environment="CartPole-v1", spaces=Spaces(states=(4,), actions=2, discrete=True), horizon=60
)  # fmt: skip
NO_STATISTICS = StateStatistics(np.zeros(0), np.zeros(0))  # frames are not normalised
STILL = StateStatistics(np.zeros(4), np.ones(4))


def a_trial(task, preset="", arch="dt", **settings) -> Trial:
    overrides = {**(find_model(arch).presets[preset] if preset else {}), "width": 16, "layers": 1}
    chosen = parts(context_length=K, **settings)
    return Trial(arch=arch, task=task, dataset=("none",), seed=0, **chosen, overrides=tuple(overrides.items()))


def perturbed(trial: Trial) -> DecisionModel:
    torch.manual_seed(0)
    model = init_model(trial).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    return model


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize(("arch", "preset"), [("dt", "DT, Atari"), ("metamamba", "DMM-C, Atari")])
def test_kept_embeddings_give_the_actions_of_windows_that_are_embedded_anew(arch, preset, padding):
    trial = a_trial(FRAMES, preset, arch, padding=padding, actions="sampled")
    model, generator, lanes = perturbed(trial), np.random.default_rng(0), 2
    history = WindowedHistory(trial, NO_STATISTICS, [9.0] * lanes, seeds=[1, 2])
    pictures = np.zeros((lanes, K + STACK, SIZE, SIZE), np.uint8)  # of the last steps. They begin black
    taken, left, returns = np.zeros((lanes, 0), np.int64), np.full(lanes, 9.0), []
    for step in range(3 * K):
        pictures = np.concatenate([pictures[:, 1:], generator.integers(0, 256, (lanes, 1, SIZE, SIZE), np.uint8)], 1)
        returns.append(left.copy())
        history.observe(pictures[:, -STACK:])
        with torch.inference_mode():
            found = history.predict(model)
            real = min(step + 1, K)
            after = np.zeros((lanes, K - real if padding == "right" else 0, SIZE, SIZE), np.uint8)  # black pads
            window = np.concatenate([pictures, after], 1)[:, -(K + STACK - 1) :]
            place = slice(K - real, K) if padding == "left" else slice(0, real)
            actions, returns_to_go = np.zeros((lanes, K), np.int64), np.zeros((lanes, K), np.float32)
            steps, mask = np.zeros((lanes, K), np.int64), np.zeros((lanes, K), bool)
            actions[:, place] = np.concatenate([taken, np.zeros((lanes, 1), np.int64)], 1)[:, -real:]
            returns_to_go[:, place] = np.stack(returns[-real:], 1)
            steps[:, place], mask[:, place] = np.arange(step + 1 - real, step + 1), True
            anew = Batch(*map(torch.from_numpy, (window, actions, returns_to_go, steps, mask)))
            np.testing.assert_allclose(found, model.act(anew).numpy(), atol=1e-5)
        chosen = history.choose(found)
        taken = np.concatenate([taken, chosen[:, None]], 1)
        rewards = generator.integers(0, 3, lanes).astype(float)
        history.record_rewards(rewards)
        left -= rewards
        if step == K:
            history.drop_finished(np.array([False, True]))
            lanes, pictures, taken, left, returns = 1, pictures[1:], taken[1:], left[1:], [past[1:] for past in returns]
    assert len(np.unique(taken)) > 1


def test_a_history_does_not_grow_with_the_horizon():
    def size(horizon: int) -> int:
        task = replace(CARTPOLE, horizon=horizon)
        arrays = vars(WindowedHistory(a_trial(task), STILL, [1.0] * 3)).values()
        return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))

    assert size(27_000) == size(10) < 2000


def test_a_recurrent_rollout_of_frames_is_the_windowed_one_while_the_window_holds_all():
    trial = a_trial(FRAMES, "DMM-C, Atari", "metamamba", padding="right", actions="sampled")
    model, generator = perturbed(trial), np.random.default_rng(0)
    windowed = WindowedHistory(trial, NO_STATISTICS, [9.0] * 2, seeds=[1, 2])
    recurrent = RecurrentHistory(trial, NO_STATISTICS, [9.0] * 2, [1, 2])
    for _ in range(K):
        states = generator.integers(0, 256, (2, STACK, SIZE, SIZE), np.uint8)
        predicted = []
        for history in (windowed, recurrent):
            history.observe(states)
            with torch.inference_mode():
                predicted.append(history.predict(model))
        np.testing.assert_allclose(*predicted, atol=1e-5)
        assert windowed.choose(predicted[0]).tolist() == recurrent.choose(predicted[1]).tolist()
    with pytest.raises(ValueError, match="no recurrent rollout"):
        a_trial(FRAMES, "DT, Atari", rollout="recurrent")  # its tokens carry their place in the window


def test_actions_are_drawn_by_the_inverse_of_the_distribution_function():
    chances = np.array([0.5, 0.0, 0.3, 0.2])
    with np.errstate(divide="ignore"):
        logits = np.repeat(np.log(chances)[None] + 7, 5, 0).astype(np.float32)
    assert sample(logits, np.array([0.0, 0.499, 0.501, 0.799, 0.999999])).tolist() == [0, 0, 2, 2, 3]
    drawn = sample(np.repeat(logits[:1], 20_000, 0), np.random.default_rng(0).random(20_000))
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 20_000, chances, atol=0.015)


class Leaning(DecisionModel):
    """Pushes the pole to the side to which it leans, mostly. Each logit is of its own row, so no batch can move its bits."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        pass

    def __init__(self):
        super().__init__(self.Config(), CARTPOLE.spaces, K)
        self.parameter = torch.nn.Parameter(torch.zeros(1))

    def forward(self, batch, state=None):
        return torch.stack([-4 * batch.states[..., 2], 4 * batch.states[..., 2]], -1)


def test_a_sampled_episode_depends_on_its_seed_only():
    trial = a_trial(CARTPOLE, actions="sampled")
    seeds = [5, 6, 7, 8]
    together = rollout(Leaning(), trial, STILL, [1.0] * 4, seeds)
    assert len(set(together.lengths)) > 1
    for index, seed in enumerate(seeds):
        assert rollout(Leaning(), trial, STILL, [1.0], [seed]).returns == [together.returns[index]]
    first, second = (rollout(Leaning(), a_trial(CARTPOLE), STILL, [1.0] * 4, seeds) for _ in range(2))
    assert first == second and first.returns != together.returns  # the most likely actions


def test_batches_of_episodes_give_the_same_returns_in_any_process_and_order():
    """The pieces of Ray's actors, in this process."""
    pytest.importorskip("ray")
    from dmm.sweeps.rollout_actors import rollout_with_weights

    trial = a_trial(CARTPOLE, actions="sampled", episodes_per_evaluation=5, rollout_batch_size=2, targets=(1.0,))
    model = perturbed(trial)

    def elsewhere(model, trial, statistics, batches):
        found = [rollout_with_weights(model.state_dict(), trial, statistics, batch) for batch in reversed(batches)]
        return found[::-1]

    (here,), (there,) = (evaluate(model, trial, STILL, 8), evaluate(model, trial, STILL, 8, roll=elsewhere))
    assert here == there and len(set(here.returns)) > 1


@pytest.mark.slow
def test_rollout_actors_play_breakout_with_the_same_bits(monkeypatch):
    ray = pytest.importorskip("ray")
    pytest.importorskip("ale_py")
    from dmm.sweeps.place import Place
    from dmm.sweeps.workers import ENVIRONMENT, RolloutPool

    settings = {"actions": "sampled", "max_steps": 150, "rollout_batch_size": 2, "targets": (1.0,)}
    trial = a_trial(find_task("breakout"), "DT, Atari", **settings)
    model = perturbed(trial)
    (here,) = evaluate(model, trial, NO_STATISTICS, 8)
    assert len(set(here.returns)) > 1
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    ray.init("local", num_cpus=2, include_dashboard=False, runtime_env={"env_vars": ENVIRONMENT}, logging_level="error")
    try:
        for actors in (1, 2):
            pool = RolloutPool(actors, Place.here([trial]))
            assert evaluate(model, trial, NO_STATISTICS, 8, roll=pool) == [here]
            pool.close()
    finally:
        ray.shutdown()


def test_a_prediction_that_is_not_finite_is_an_error_and_no_action():
    class Broken(Leaning):
        Config = Leaning.Config

        def forward(self, batch, state=None):
            return super().forward(batch) * torch.nan

    with pytest.raises(ValueError, match=r"the model's prediction of step 0 is \[nan nan\] in the episode with seed 3"):
        rollout(Broken(), a_trial(CARTPOLE), STILL, [1.0], [3])


@pytest.mark.parametrize(
    ("task", "settings", "said"),
    [
        (REACHER, {"actions": "sampled"}, "actions of task reacher are in a box; only discrete actions are sampled"),
        (CARTPOLE, {"rollout_pad_action": -10.0}, "discrete; their pad is action 0. Leave it at 0"),
        (REACHER, {"max_steps": 0}, "Evaluation.max_steps is 0; it must be at least 1"),
    ],
)
def test_a_setting_without_effect_is_an_error(task, settings, said):
    with pytest.raises(ValueError, match=said):
        a_trial(task, **settings)


def test_an_episode_stops_after_max_steps_and_a_limit_that_is_never_reached_moves_no_id():
    trial = a_trial(CARTPOLE, max_steps=5)
    assert trial.horizon == 5 and rollout(Leaning(), trial, STILL, [1.0] * 2, [0, 1]).lengths == [5, 5]
    whole = a_trial(CARTPOLE)
    assert whole.horizon == 60 and trial.weights_id == whole.weights_id and trial.returns_id != whole.returns_id
    assert a_trial(CARTPOLE, max_steps=60).returns_id == whole.returns_id
    assert "max_steps" not in whole.record().returns.evaluation and "actions" not in whole.record().returns.evaluation
    assert a_trial(CARTPOLE, actions="sampled").returns_id != whole.returns_id


def test_short_budgets_stop_long_episodes_and_the_table_says_so():
    def table(task) -> Table:
        return Table(
            name="t", title="T", rows=(Row(label="BC", arch="bc"),), seeds=(0,), protocol=Protocol(name="p"),
            columns=(Column(label="c", task=task, dataset=("none",)),),
        )  # fmt: skip

    breakout, hopper = table(find_task("breakout")).at("short"), table(find_task("hopper")).at("short")
    assert [trial.horizon for found in (breakout, hopper) for trial in found.trials()] == [3000, 1000]
    assert describe(breakout).endswith("Actions are the most likely ones. Episodes are stopped after 3,000 steps.")
    assert "stopped" not in describe(hopper) and hopper.trials()[0].evaluation.max_steps is None
    own = BUDGETS["short"].apply(Protocol(name="p", evaluation=Evaluation(max_steps=200)))
    assert own.evaluation.max_steps == 200
    assert BUDGETS["medium"].apply(Protocol(name="p")).evaluation.max_steps is None
