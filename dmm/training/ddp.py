"""Data-parallel training: what the workers of one trial do together, through torch.distributed. No Ray.

Every worker draws the same whole batch and takes its rows. Without a process group there is one worker, and nothing here
does anything.
"""

import io
from collections.abc import Callable
from dataclasses import fields

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from dmm.batch import Batch
from dmm.models import DecisionModel


def workers() -> int:
    """How many workers train this trial."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This worker's number; 0 is the one that evaluates, saves and reports."""
    return dist.get_rank() if dist.is_initialized() else 0


def wrap_ddp(model: DecisionModel) -> Callable:
    """The model's forward; among several workers its gradients become their mean, as the backward pass goes."""
    if workers() == 1:
        return model
    return DistributedDataParallel(model, find_unused_parameters=bool(model.unused_parameters()))


def local_rows(batch: Batch) -> tuple[Batch, Tensor | float]:
    """This worker's rows of a batch, and the factor of their loss with which the mean over workers is the whole's.

    A loss is a mean over real steps, of which the workers' rows do not hold equally many.
    """
    if workers() == 1:
        return batch, 1.0
    whole = {f.name: value for f in fields(batch) if (value := getattr(batch, f.name)) is not None}
    mine = Batch(**{name: value.tensor_split(workers())[rank()] for name, value in whole.items()})
    return mine, workers() * mine.mask.sum() / batch.mask.sum()


def mean_over_workers(value: Tensor) -> Tensor:
    """The mean over workers, in place."""
    if workers() > 1:
        dist.all_reduce(value)
        value /= workers()
    return value


def broadcast_state(state: dict | None) -> dict | None:
    """The first worker's state, on every worker; it travels as bytes, which are read without unpickling code."""
    if workers() == 1:
        return state
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    file = io.BytesIO()
    torch.save(state, file)
    data = torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8).to(device)
    size = torch.tensor(len(data), device=device)
    dist.broadcast(size, 0)
    if rank():
        data = torch.empty(int(size), dtype=torch.uint8, device=device)
    dist.broadcast(data, 0)
    return torch.load(io.BytesIO(data.cpu().numpy().tobytes()), map_location="cpu", weights_only=True)
