"""Every architecture on one dataset at one width. It shows that all of them learn in the same loop, not which is better."""

from dmm.config import LAST, Column, Protocol, Row, Table
from dmm.tasks import find_task

PROTOCOL = Protocol(name="zoo").with_overrides(
    context_length=20,
    updates=2_000,
    warmup=200,
    learning_rate=1e-3,
    num_evaluations=2,
    episodes_per_evaluation=20,
    rollout_batch_size=20,
)
SHORT = {"context_length": 8}
CORREIA = {"sampling": "episodes", "window_anchor": "end", "padding": "right", "pad_action": 0.0}
ELASTIC = {"sampling": "episodes", "window_anchor": "whole", "padding": "right", "pad_state": "normalised zero",
           "pad_action": 0.0}  # fmt: skip


def small(label: str, arch: str, preset: str = "", protocol: dict | None = None, **overrides) -> Row:
    """A row at width 64. It overrides the width and depth of its preset, and parts of the protocol."""
    return Row(label=label, arch=arch, preset=preset, overrides={"width": 64, **overrides, **(protocol or {})})


TABLE = Table(
    name="zoo",
    title="Zoo: every architecture at width 64 and three layers on Hopper",
    rows=(
        small("BC", "bc", protocol={"context_length": 1}),
        small("10% BC", "bc", protocol={"context_length": 1, "top_fraction": 0.1}),
        small("DT", "dt"),
        small("DC", "dc", protocol=SHORT),
        small("EDT", "edt", "EDT, expectile", ELASTIC, layers=3),
        small("DMamba", "decision_mamba", "DMamba"),
        small("DMamba RC", "decision_mamba", "DMamba RC"),
        small("DM (Correia)", "decision_mamba_correia", "DM", CORREIA, layers=3),
        small("DM+R (Correia)", "decision_mamba_correia", "DM+R", CORREIA, layers=3),
        small("HDM", "hdm", protocol=CORREIA, layers=3),
        small("HDT", "hdt", protocol=CORREIA),
        small("SA + SSM", "attention_ssm"),
        small("DS4", "ds4", protocol={"context_length": 50, "padding": "right", "rollout": "recurrent"}),
        small("DMM-C", "metamamba", "DMM-C", SHORT),
        small("DMM-L, as published", "metamamba", "DMM-L, as published", SHORT),
        small("DMM-DC", "metamamba", "DMM-DC", SHORT),
        small("DMM-DL, as published", "metamamba", "DMM-DL, as published", SHORT),
        small("DMM v2", "metamamba", "DMM v2", SHORT),
        small("DMM v2 Mamba-2", "metamamba", "DMM v2 Mamba-2", SHORT),
    ),
    columns=(Column(task=find_task("hopper"), dataset=("d4rl/hopper-medium",), label="hopper-medium"),),
    seeds=(0, 1),
    protocol=PROTOCOL,
    readings=(LAST,),
    departures=(
        "width 64 and at most three layers for all. Each has its own tokens and context length",
        "2,000 updates at a learning rate of 1e-3 with a warm-up of 200 (papers: 100,000 at 1e-4 with 10,000)",
        "20 episodes at the target x1 after each 1,000 updates, 2 seeds",
        "the data are any file hopper-medium.hdf5 in the folder DMM_D4RL. D4RL's own is called hopper-medium-v2",
    ),
)
