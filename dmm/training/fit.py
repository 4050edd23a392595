"""fit(): the training loop, one for every architecture. No Ray, no MLflow: it is given data and what to do at its stops."""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from dmm.config import Protocol, Trial
from dmm.data.trajectories import Trajectories
from dmm.data.windows import sample_batch
from dmm.models import DecisionModel, build, count_parameters
from dmm.schema import EvaluationResult, to_json
from dmm.training import ddp as parallel
from dmm.training.cuda_graph import capture_cuda_graph

POINTS = 10  # of the loss curve, between two evaluations
SAVE_SECONDS = 60  # between two checkpoints at most; resuming is exact, so this moves no number


def derived_seed(*parts: int) -> int:
    """A seed for torch's generators from a tuple of integers."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def init_model(trial: Trial) -> DecisionModel:
    """The trial's model at its initialisation; leaves torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(trial.seed, 0))
        return build(
            trial.arch,
            dict(trial.overrides),
            trial.task.state_dim,
            trial.task.action_dim,
            trial.protocol.context_length,
        )


def init_optimizer(model: DecisionModel, protocol: Protocol) -> torch.optim.Optimizer:
    """The protocol's optimizer, before its first step."""
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


def make_update(
    trial: Trial,
    trajectories: Trajectories,
    model: DecisionModel,
    optimizer: torch.optim.Optimizer,
    sampler: torch.Generator,
) -> Callable[[int], torch.Tensor]:
    """What the loop does: a function that makes update 0, 1, ... of a model and gives its loss."""
    protocol, device = trial.protocol, next(model.parameters()).device
    half = torch.autocast(device.type, torch.bfloat16, enabled=protocol.dtype == "bfloat16")
    network, loss = parallel.wrap_ddp(model), torch.zeros((), device=device)

    def work() -> None:
        batch = sample_batch(trajectories, protocol, trial.task.return_scale, sampler, protocol.batch_size, model.needs)
        batch, share = parallel.local_rows(batch.to(device))
        with half:
            predicted = network(batch)
        error = model.loss(predicted, batch) * share
        optimizer.zero_grad()
        error.backward()
        for part in model.gradient_clip_groups():
            nn.utils.clip_grad_norm_(part.parameters(), protocol.grad_clip_norm)
        optimizer.step()
        loss.copy_(parallel.mean_over_workers(error.detach()))

    replay = device.type == "cuda" and parallel.workers() == 1
    make, rate = (capture_cuda_graph(work, sampler), torch.zeros((), device=device)) if replay else (work, None)

    def learn(update: int) -> torch.Tensor:
        value = protocol.learning_rate * min((update + 1) / max(protocol.warmup, 1), 1)
        for group in optimizer.param_groups:
            group["lr"] = value if rate is None else rate.fill_(value)  # a graph reads it where it lies
        if parallel.rank():  # dropout as a function of the update: the first worker's state is all that is saved
            torch.manual_seed(derived_seed(trial.seed, 2, parallel.rank(), update))
        make()
        return loss

    return learn


def blank_progress(parameters: int) -> dict:
    """What a trial has given before its first update: the part of its state that becomes its result."""
    seconds = {"train": 0.0, "rollout": 0.0}
    return {"parameters": parameters, "update": 0, "loss": [], "evaluations": [], "seconds": seconds}


def fit(
    trial: Trial,
    trajectories: Trajectories,
    evaluate: Callable[[DecisionModel, int, int], list[EvaluationResult]],
    *,
    state: dict | None = None,
    save: Callable[[dict], None] = lambda state: None,
    device: str = "cpu",
) -> tuple[DecisionModel, dict]:
    """Trains a model and evaluates it at equal distances; returns it with its state.

    The state holds all that is needed to go on (`state`, as `save` was given it): an interrupted run that is resumed gives
    the same bits as one that was not. `evaluate(model, i, update)` gives the results of evaluation i, one a target.
    Several workers call it alike; the first one's state is what counts.
    """
    protocol, state = trial.protocol, parallel.broadcast_state(state)
    model = init_model(trial).to(device).train()
    optimizer = init_optimizer(model, protocol)
    sampler = torch.Generator(device).manual_seed(derived_seed(trial.seed, 1))
    progress = blank_progress(count_parameters(model))
    total = torch.zeros((), device=device)  # of the losses since the last point
    with torch.random.fork_rng():
        torch.manual_seed(derived_seed(trial.seed, 2))  # dropout
        if state is not None:
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            sampler.set_state(state["sampler"].cpu())
            restore_generators(state["generators"])
            total, progress = state["total"].to(device), state["progress"]

        def snapshot() -> dict:
            return {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "sampler": sampler.get_state(),
                "generators": generators(),
                "total": total,
                "progress": progress,
            }

        learn = make_update(trial, trajectories, model, optimizer, sampler)
        every = max(1, protocol.evaluation_interval // POINTS)
        began = saved = time.perf_counter()
        for update in range(progress["update"], protocol.updates):
            total += learn(update)
            done = progress["update"] = update + 1
            evaluation = done % protocol.evaluation_interval == 0
            if done % protocol.evaluation_interval % every == 0:
                last = progress["loss"][-1][0] if progress["loss"] else 0
                mean = float(total) / (done - last)
                if not np.isfinite(mean):
                    raise FloatingPointError(f"the loss is {mean} between updates {last} and {done}")
                progress["loss"].append([done, mean])
                total.zero_()
            now = time.perf_counter()
            if evaluation:
                progress["seconds"]["train"] += now - began
                results = evaluate(model, done // protocol.evaluation_interval, done)
                progress["evaluations"] += [to_json(result) for result in results]
                began = time.perf_counter()
                progress["seconds"]["rollout"] += began - now
            if evaluation or now - saved > SAVE_SECONDS:
                progress["seconds"]["train"] += time.perf_counter() - began
                save(snapshot())
                began = saved = time.perf_counter()
        return model, snapshot()


def generators() -> dict[str, torch.Tensor]:
    """The states of torch's global generators, by device."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_generators(states: dict[str, torch.Tensor]) -> None:
    """Puts torch's global generators where they were."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
