"""Decision Mamba (Ota 2024), Table 2: DMamba beside two quoted systems, on four Atari games."""

from dataclasses import replace

from dmm.config import LAST, Table
from tune_spaces.protocols import DC_ATARI, DT_ATARI, OTA_ATARI
from tune_spaces.shared import ATARI_BUDGETS, differences, on
from tune_spaces.shared_atari import DC, DEPARTURES, DM, DT, OTHER_SCALE, SEEDS, columns

GAMES = ("breakout", "qbert", "pong", "seaquest")
QUOTED = f"quoted from the paper of Decision ConvFormer, and {OTHER_SCALE}"
SOURCE = (
    "arXiv 2403.19925, Table {}: mean and standard deviation over three seeds. The paper does not say which of ten evaluations "
    "it reads. Here it is compared with the last one"
)
SPREADS = (
    "the printed deviations of DMamba are wrong, because the score of random play was subtracted from them too. By the raw "
    "scores of Table 7 they are 32.3 on breakout, 9.7 on qbert, 43.3 on pong and 0.14 on seaquest"
)

TABLE = Table(
    name="dmamba_table2",
    title="Decision Mamba (Ota), Table 2: DMamba beside DT and DC on Atari",
    rows=(
        on(GAMES, replace(DT, overrides=differences(DT_ATARI, OTA_ATARI)), (242.4, 28.8, 105.6, 2.7),
           not_comparable=QUOTED, published_std=dict(zip(GAMES, (31.8, 10.3, 2.9, 0.7), strict=True))),
        on(GAMES, replace(DC, overrides=differences(DC_ATARI, OTA_ATARI)), (352.7, 67.0, 106.5, 2.6),
           not_comparable=QUOTED, published_std=dict(zip(GAMES, (44.7, 14.7, 2.0, 0.3), strict=True))),
        on(GAMES, DM, (239.2, 42.3, 63.2, 2.2), label="DMamba", published_reading=LAST.name,
           published_std=dict(zip(GAMES, (26.4, 8.5, 102.1, 0.03), strict=True))),
    ),
    columns=columns(*GAMES),
    seeds=SEEDS,
    protocol=OTA_ATARI,
    budgets=ATARI_BUDGETS,
    source=SOURCE.format(2),
    departures=(*DEPARTURES, SPREADS),
)  # fmt: skip
