"""The state of a training run: everything that it needs to continue with the same bits."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dmm.schema import TrainingProgress, from_json, to_json


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """A snapshot between two updates. A checkpoint file holds one."""

    model: dict[str, Tensor]
    optimizer: dict[str, Any]  # torch's own layout
    sampler: Tensor  # state of the generator that draws batches
    generators: dict[str, Tensor]  # states of torch's global generators, by device type
    loss_sum: Tensor  # of the losses since the last point of the loss curve
    progress: TrainingProgress
    data_sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Plain containers and tensors, which `torch.load(weights_only=True)` accepts."""
        return {**vars(self), "progress": to_json(self.progress)}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "TrainingState":
        """The state that `to_dict` took apart. Raises ValueError or TypeError where a field is missing or wrong."""
        return TrainingState(**{**values, "progress": from_json(TrainingProgress, values["progress"])})


def global_generators() -> dict[str, Tensor]:
    """The states of torch's global generators, by device type."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_global_generators(states: dict[str, Tensor]) -> None:
    """Sets torch's global generators to these states."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
