"""fit(): the training loop, one for every architecture. It knows no Ray and no MLflow."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from dmm.architectures import build_model
from dmm.base.memory import peak_memory, reset_peak_memory
from dmm.base.seeds import derive_seed
from dmm.config import Trial
from dmm.data.trajectories import Trajectories
from dmm.data.windows import pass_rows, read_windows, sample_batch
from dmm.layers.dropout import keyed_dropout
from dmm.models import DecisionModel, count_parameters
from dmm.schema import LossPoint, TrainingProgress
from dmm.training import ddp
from dmm.training.cuda_graph import capture_cuda_graph
from dmm.training.optimizer import init_optimizer, learning_rate
from dmm.training.state import TrainingState

LOSS_POINTS = 100  # of the loss curve, at equal distances
SAVE_SECONDS = 60  # between two checkpoints at most. Resuming is exact, so this moves no number

Visit = Callable[[DecisionModel, TrainingState], object]
OnUpdate = Callable[[int, float | None], None]  # updates done, and the newest loss of the curve, if there is one


def init_model(trial: Trial) -> DecisionModel:
    """The trial's model before its first update. Torch's global generator is left unchanged."""
    arch = trial.source or trial.arch
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(trial.seed, "weights"))
        return build_model(arch, dict(trial.overrides), trial.task.spaces, trial.training.context_length)


def make_update(
    trial: Trial,
    trajectories: Trajectories,
    model: DecisionModel,
    optimizer: torch.optim.Optimizer,
    sampler: torch.Generator,
) -> Callable[[int], torch.Tensor]:
    """Returns a function that makes update 0, 1, ... of the model and returns its loss, a scalar tensor."""
    training, task, device = trial.training, trial.task, next(model.parameters()).device
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=training.dtype == "bfloat16")
    network, loss = ddp.wrap_ddp(model), torch.zeros((), device=device)
    seed, dropout_key = derive_seed(trial.seed, "dropout"), torch.zeros((), dtype=torch.int64, device=device)
    settings = training, task.return_scale, task.spaces
    # the rows of an update that a pass gives, where a CUDA graph reads them
    rows = torch.zeros(training.batch_size, dtype=torch.int64, device=device) if training.sampling == "passes" else None

    def step() -> None:
        if rows is None:
            batch = sample_batch(trajectories, *settings, sampler, training.batch_size, model.needs)
        else:
            batch = read_windows(trajectories, rows, *settings, model.needs)
        batch, share = ddp.local_rows(replace(batch.to(device), dropout_key=dropout_key))
        optimizer.zero_grad()
        loss.zero_()
        for part, weight in ddp.micro_batches(batch, training.micro_batch_size):
            with autocast, keyed_dropout(part):
                predicted = network(part)
            error = model.loss(predicted, part) * share * weight
            error.backward()
            loss.add_(error.detach())
        for group in model.gradient_clip_groups():
            nn.utils.clip_grad_norm_(group.parameters(), training.grad_clip_norm)
        optimizer.step()
        ddp.mean_over_workers(loss)

    captured_rate = None  # the learning rate as a tensor, where a CUDA graph reads it
    if device.type == "cuda" and ddp.workers() == 1:
        step, captured_rate = capture_cuda_graph(step, sampler), torch.zeros((), device=device)

    def make(update: int) -> torch.Tensor:
        rate = learning_rate(training, update, trajectories.steps)
        for group in optimizer.param_groups:
            group["lr"] = rate if captured_rate is None else captured_rate.fill_(rate)
        dropout_key.fill_((seed << 31) + update)
        if rows is not None:
            rows.copy_(pass_rows(trajectories.steps, training.batch_size, trial.seed, update))
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
    visit: Visit = lambda model, state: None,
    *,
    wanted: Callable[[int], bool] = lambda update: False,
    save: Callable[[TrainingState], None] = lambda state: None,
    on_update: OnUpdate = lambda update, loss: None,
    state: TrainingState | None = None,
    device: str = "cpu",
) -> tuple[DecisionModel, TrainingState]:
    """Trains a model. Returns it and its final state.

    `visit(model, state)` is called after the last update, and after each update for which `wanted(updates done)` is true.
    It keeps and evaluates the weights. `save(state)` is called once a minute between visits. A run that starts from such a
    state gives the same bits as a run that was never interrupted. `on_update` is called before the first update and after
    each. None of these functions moves a number. Every worker of a group calls this function in the same way. Only the
    first worker visits and saves.
    Raises FloatingPointError once the loss is not finite.
    """
    training, state = trial.training, ddp.broadcast_state(state)
    model = init_model(trial).to(device).train()
    optimizer = init_optimizer(model, training)
    sampler = torch.Generator(device).manual_seed(derive_seed(trial.seed, "windows"))
    progress = state.progress if state else TrainingProgress(
        parameters=count_parameters(model), live_parameters=model.live_parameters()
    )  # fmt: skip
    losses, seconds, done = list(progress.loss), progress.train_seconds, progress.update
    reset_peak_memory(device)
    loss_sum = torch.zeros((), device=device)
    with torch.random.fork_rng():  # updates reseed torch's global generator
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
                progress=replace(
                    progress,
                    update=done,
                    loss=list(losses),
                    train_seconds=seconds,
                    peak_memory=max(progress.peak_memory, peak_memory(device)),
                ),
                data_sha256=trajectories.sha256,
            )

        make = make_update(trial, trajectories, model, optimizer, sampler)
        loss_interval = max(1, training.updates // LOSS_POINTS)
        began = saved = time.perf_counter()
        on_update(done, losses[-1].loss if losses else None)
        for update in range(done, training.updates):
            loss_sum += make(update)
            done = update + 1
            is_last = done == training.updates
            if done % loss_interval == 0 or is_last:
                before = losses[-1].update if losses else 0
                mean = float(loss_sum) / (done - before)
                if not np.isfinite(mean):
                    raise FloatingPointError(f"the loss is {mean} between updates {before} and {done}")
                losses.append(LossPoint(done, mean))
                loss_sum.zero_()
            on_update(done, losses[-1].loss if losses else None)
            is_visit = is_last or wanted(done)
            if is_visit or time.perf_counter() - saved > SAVE_SECONDS:
                seconds += time.perf_counter() - began
                if is_visit:
                    visit(model, snapshot())
                else:
                    save(snapshot())
                began = saved = time.perf_counter()
        return model, snapshot()
