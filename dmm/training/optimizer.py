"""AdamW, the parameters that it decays, and the learning rate of each update."""

import math
from typing import Any

import torch
from torch import nn

from dmm.config import Training
from dmm.models import DecisionModel

SSM = {"A_log", "D"}  # parameters of selective state spaces that are no matrices of a linear layer


def init_optimizer(model: DecisionModel, training: Training) -> torch.optim.Optimizer:
    """The optimizer before its first step. It has a second group of parameters where some do not decay."""
    named = [
        (is_decayed(module, name, parameter, training.decay), parameter)
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.requires_grad
    ]
    groups: list[dict[str, Any]] = [{"params": [parameter for decays, parameter in named if decays]}]
    if others := [parameter for decays, parameter in named if not decays]:
        groups.append({"params": others, "weight_decay": 0.0})
    return torch.optim.AdamW(
        groups,
        lr=training.learning_rate,
        capturable=named[0][1].is_cuda,
        betas=training.betas,
        eps=training.epsilon,
        weight_decay=training.weight_decay,
        fused=True,
    )


def is_decayed(module: nn.Module, name: str, parameter: nn.Parameter, decay: str) -> bool:
    """Whether a parameter of a module decays. In kzl's Atari scripts and those after them biases, norms and tables do not.

    The script of Decision Mamba leaves out A_log and D too. That of DMM does not.
    """
    if decay == "all":
        return True
    if name in SSM:
        return decay == "matrices and SSM"
    return parameter.ndim > 1 and not name.endswith("bias") and not isinstance(module, nn.Embedding)


def learning_rate(training: Training, update: int, steps: int) -> float:
    """The learning rate of update 0, 1, ... on data of so many steps.

    By kzl's scripts a cosine depends on the actions that earlier updates have seen. They set the rate after an update, so the
    first one has the whole rate.
    """
    if training.schedule == "constant":
        return training.learning_rate * min((update + 1) / max(training.warmup, 1), 1)
    actions = training.batch_size * training.context_length  # of an update
    seen, warm = update * actions, training.warmup_actions
    if seen == 0:
        return training.learning_rate
    if seen < warm:
        return training.learning_rate * seen / warm
    lowest = training.cosine_passes * steps * training.context_length or training.updates * actions
    share = (1 + math.cos(math.pi * (seen - warm) / max(1, lowest - warm))) / 2
    return training.learning_rate * max(training.rate_floor, share)
