"""Decision Mamba (Ota 2024), Table 3: DMamba without its channel mixer (RC), and with twice the layers."""

from dataclasses import replace

from dmm.config import Row, Table
from tune_spaces.dmamba_table1 import DMAMBA, ONE_TARGET, OTHER_SEEDS, SOURCE
from tune_spaces.protocols import OTA_GYM
from tune_spaces.shared import SEEDS, SIMULATOR, columns, on

LABELS = ("halfcheetah-medium", "hopper-medium", "walker2d-medium")


def variant(preset: str, scores: tuple[float, ...], std: tuple[float, ...]) -> Row:
    """A preset of DMamba with its printed means and standard deviations."""
    row = replace(DMAMBA, label=preset, preset=preset)
    return on(LABELS, row, scores, published_std=dict(zip(LABELS, std, strict=True)))


TABLE = Table(
    name="dmamba_table3",
    title="Decision Mamba (Ota), Table 3: DMamba without its channel mixer",
    rows=(
        variant("DMamba", (42.8, 83.5, 78.2), (0.08, 12.5, 0.6)),
        variant("DMamba RC", (42.9, 82.9, 78.0), (0.01, 5.8, 2.0)),
        variant("DMamba RC x2", (42.8, 85.2, 77.0), (0.06, 14.9, 1.1)),
    ),
    columns=columns(*LABELS),
    seeds=SEEDS,
    protocol=OTA_GYM,
    source=SOURCE.format(3),
    departures=(
        SIMULATOR,
        OTHER_SEEDS,
        ONE_TARGET,
        "the released code has neither RC nor RC x2: here the MLP and its norm are left out, and RC x2 has six layers",
    ),
)
