"""An architecture of a user: a GRU in a file of its own, with files that it imports."""

from pathlib import Path

GRU = '''"""A GRU over states and returns-to-go."""

from dataclasses import dataclass

import torch
from torch import nn

from dmm.models import DecisionModel


class GRU(DecisionModel):
    @dataclass(frozen=True, kw_only=True)
    class Config:
        width: int = 16
        layers: int = 1

    def __init__(self, config, spaces, context_length):
        from helpers import head

        super().__init__(config, spaces, context_length)
        self.gru = nn.GRU(spaces.state_dim + 1, config.width, config.layers, batch_first=True)
        self.head = head(config.width, spaces.action_dim)

    def forward(self, batch, state=None):
        x = torch.cat([batch.states, batch.returns_to_go.unsqueeze(2)], 2)
        return self.head(self.gru(x)[0])
'''
HELPERS = """from torch import nn


def head(width, actions):
    return nn.Sequential(nn.Linear(width, actions), nn.Tanh())
"""


def write(folder: Path, files: dict[str, str]) -> None:
    """Writes files below a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def write_gru(folder: Path, gru: str = GRU, helpers: str = HELPERS) -> Path:
    """Writes gru.py and helpers.py. Returns the path of the former."""
    write(folder, {"gru.py": gru, "helpers.py": helpers})
    return folder / "gru.py"
