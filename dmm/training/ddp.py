"""Data-parallel training: the common work of a trial's workers, through torch.distributed. It knows no Ray.

Every worker draws the same whole batch and trains on its own rows. Without a process group there is one worker, and every
function here returns its argument.
"""

import io
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from dmm.batch import Batch
from dmm.models import DecisionModel
from dmm.training.state import TrainingState


def workers() -> int:
    """The number of workers that train this trial."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This worker's number. Worker 0 evaluates, saves and reports."""
    return dist.get_rank() if dist.is_initialized() else 0


def wrap_ddp(model: DecisionModel) -> Callable:
    """The model's forward. With several workers, the backward pass averages gradients over them."""
    if workers() == 1:
        return model
    return DistributedDataParallel(model, find_unused_parameters=bool(model.unused_parameters()))


def local_rows(batch: Batch) -> tuple[Batch, Tensor | float]:
    """This worker's rows of a batch, and a factor for their loss.

    A loss is a mean over real steps, and workers have different numbers of real steps. The factor makes the mean over
    workers equal to the loss of the whole batch.
    """
    if workers() == 1:
        return batch, 1.0
    sizes = [len(part) for part in torch.arange(len(batch.mask)).tensor_split(workers())]
    first = sum(sizes[: rank()])
    local = batch.take_rows(slice(first, first + sizes[rank()]))
    return local, workers() * local.mask.sum() / batch.mask.sum()


def micro_batches(batch: Batch, size: int) -> list[tuple[Batch, Tensor | float]]:
    """The batch in parts of `size` rows, and a factor for the loss of each. The whole batch for size 0."""
    if not size:
        return [(batch, 1.0)]
    parts = [batch.take_rows(slice(first, first + size)) for first in range(0, len(batch.mask), size)]
    return [(part, part.mask.sum() / batch.mask.sum()) for part in parts]


def mean_over_workers(value: Tensor) -> Tensor:
    """The mean over workers, in place."""
    if workers() > 1:
        dist.all_reduce(value)
        value /= workers()
    return value


def broadcast_state(state: TrainingState | None) -> TrainingState | None:
    """The first worker's state, on every worker. It is sent as bytes and read without unpickling code."""
    if workers() == 1:
        return state
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    file = io.BytesIO()
    torch.save(state and state.to_dict(), file)
    data = torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8).to(device)
    size = torch.tensor(len(data), device=device)
    dist.broadcast(size, 0)
    if rank():
        data = torch.empty(int(size), dtype=torch.uint8, device=device)
    dist.broadcast(data, 0)
    values = torch.load(io.BytesIO(data.cpu().numpy().tobytes()), map_location="cpu", weights_only=True)
    return values and TrainingState.from_dict(values)
