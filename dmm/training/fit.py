"""fit(): the training loop, one for every architecture. It knows no Ray and no MLflow."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from dmm.base.seeds import derive_seed
from dmm.config import Protocol, Trial
from dmm.data.trajectories import Trajectories
from dmm.data.windows import sample_batch
from dmm.layers.dropout import keyed_dropout
from dmm.models import DecisionModel, build_model, count_parameters
from dmm.schema import EvaluationResult, LossPoint, Seconds, TrainingProgress
from dmm.training import ddp
from dmm.training.cuda_graph import capture_cuda_graph
from dmm.training.state import TrainingState

LOSS_POINTS = 10  # of the loss curve, between two evaluations
SAVE_SECONDS = 60  # between two checkpoints at most. Resuming is exact, so this moves no number

Evaluate = Callable[[DecisionModel, int, int], list[EvaluationResult]]  # model, evaluation 1, 2, ..., updates done


def init_model(trial: Trial) -> DecisionModel:
    """The trial's model before its first update. Torch's global generator is left unchanged."""
    task = trial.task
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(trial.seed, "weights"))
        return build_model(
            trial.arch, dict(trial.overrides), task.state_dim, task.action_dim, trial.protocol.context_length
        )


def init_optimizer(model: DecisionModel, protocol: Protocol) -> torch.optim.Optimizer:
    """The protocol's optimizer before its first step."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(
        parameters,
        lr=protocol.learning_rate,
        capturable=parameters[0].is_cuda,
        betas=protocol.betas,
        eps=protocol.epsilon,
        weight_decay=protocol.weight_decay,
        fused=True,
    )


def learning_rate(protocol: Protocol, update: int) -> float:
    """The learning rate of update 0, 1, ...: a linear warm-up, then constant."""
    return protocol.learning_rate * min((update + 1) / max(protocol.warmup, 1), 1)


def make_update(
    trial: Trial,
    trajectories: Trajectories,
    model: DecisionModel,
    optimizer: torch.optim.Optimizer,
    sampler: torch.Generator,
) -> Callable[[int], torch.Tensor]:
    """Returns a function that makes update 0, 1, ... of the model and returns its loss, a scalar tensor."""
    protocol, device = trial.protocol, next(model.parameters()).device
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=protocol.dtype == "bfloat16")
    network, loss = ddp.wrap_ddp(model), torch.zeros((), device=device)
    seed, dropout_key = derive_seed(trial.seed, "dropout"), torch.zeros((), dtype=torch.int64, device=device)

    def step() -> None:
        batch = sample_batch(trajectories, protocol, trial.task.return_scale, sampler, protocol.batch_size, model.needs)
        batch, share = ddp.local_rows(replace(batch.to(device), dropout_key=dropout_key))
        with autocast, keyed_dropout(batch):
            predicted = network(batch)
        error = model.loss(predicted, batch) * share
        optimizer.zero_grad()
        error.backward()
        for group in model.gradient_clip_groups():
            nn.utils.clip_grad_norm_(group.parameters(), protocol.grad_clip_norm)
        optimizer.step()
        loss.copy_(ddp.mean_over_workers(error.detach()))

    captured_rate = None  # the learning rate as a tensor, where a CUDA graph reads it
    if device.type == "cuda" and ddp.workers() == 1:
        step, captured_rate = capture_cuda_graph(step, sampler), torch.zeros((), device=device)

    def make(update: int) -> torch.Tensor:
        rate = learning_rate(protocol, update)
        for group in optimizer.param_groups:
            group["lr"] = rate if captured_rate is None else captured_rate.fill_(rate)
        dropout_key.fill_((seed << 31) + update)
        # a model with layers of torch that draw random numbers resumes exactly, because no update needs the state of another
        seed_global_generators(derive_seed(trial.seed, "generator", update, ddp.rank()), device)
        step()
        return loss

    return make


def seed_global_generators(seed: int, device: torch.device) -> None:
    """Seeds torch's global generators of the CPU and of a device. torch.manual_seed does so too, in 0.3 ms."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def fit(
    trial: Trial,
    trajectories: Trajectories,
    evaluate: Evaluate,
    *,
    state: TrainingState | None = None,
    save: Callable[[TrainingState], None] = lambda state: None,
    device: str = "cpu",
) -> tuple[DecisionModel, TrainingState]:
    """Trains a model and evaluates it at equal distances. Returns the model and its final state.

    `save` receives a state after each evaluation and once a minute. A run that starts from this state gives the same bits
    as a run that was never interrupted. `evaluate(model, i, update)` returns one result for each target of evaluation i,
    which takes place after so many updates.
    Every worker of a group calls this function alike. Only the first worker's state counts.
    Raises FloatingPointError once the loss is not finite.
    """
    protocol, state = trial.protocol, ddp.broadcast_state(state)
    model = init_model(trial).to(device).train()
    optimizer = init_optimizer(model, protocol)
    sampler = torch.Generator(device).manual_seed(derive_seed(trial.seed, "windows"))
    progress = state.progress if state else TrainingProgress(parameters=count_parameters(model))
    losses, evaluations = list(progress.loss), list(progress.evaluations)
    train_seconds, rollout_seconds = progress.seconds.train, progress.seconds.rollout
    done, loss_sum = progress.update, torch.zeros((), device=device)
    with torch.random.fork_rng():
        if state is not None:
            model.load_state_dict(state.model)
            optimizer.load_state_dict(state.optimizer)
            sampler.set_state(state.sampler.cpu())
            loss_sum = state.loss_sum.to(device)

        def snapshot() -> TrainingState:
            return TrainingState(
                model=model.state_dict(),
                optimizer=optimizer.state_dict(),
                sampler=sampler.get_state(),
                loss_sum=loss_sum,
                progress=TrainingProgress(
                    parameters=progress.parameters,
                    update=done,
                    loss=list(losses),
                    evaluations=list(evaluations),
                    seconds=Seconds(train=train_seconds, rollout=rollout_seconds),
                ),
                data_sha256=trajectories.sha256,
            )

        make = make_update(trial, trajectories, model, optimizer, sampler)
        interval = protocol.evaluation_interval
        loss_interval = max(1, interval // LOSS_POINTS)
        began = saved = time.perf_counter()
        for update in range(done, protocol.updates):
            loss_sum += make(update)
            done = update + 1
            if done % interval % loss_interval == 0:
                before = losses[-1].update if losses else 0
                mean = float(loss_sum) / (done - before)
                if not np.isfinite(mean):
                    raise FloatingPointError(f"the loss is {mean} between updates {before} and {done}")
                losses.append(LossPoint(done, mean))
                loss_sum.zero_()
            now = time.perf_counter()
            is_evaluation = done % interval == 0
            if is_evaluation:
                train_seconds += now - began
                evaluations += evaluate(model, done // interval, done)
                began = time.perf_counter()
                rollout_seconds += began - now
            if is_evaluation or now - saved > SAVE_SECONDS:
                train_seconds += time.perf_counter() - began
                save(snapshot())
                began = saved = time.perf_counter()
        return model, snapshot()
