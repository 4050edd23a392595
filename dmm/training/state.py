"""The state of a training run: everything that it needs to continue with the same bits."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dmm.schema import TrainingProgress, from_json, to_json


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """A snapshot between two updates. A checkpoint file holds one."""

    model: dict[str, Tensor]
    optimizer: dict[str, Any]  # torch's own layout
    sampler: Tensor  # state of the generator that draws batches
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
