"""Decision Mamba (Ota 2024), Table 4: the context length of DMamba, on two Atari games."""

from dmm.config import LAST, Table
from tune_spaces.dmamba_table2 import SOURCE
from tune_spaces.protocols import OTA_ATARI, ten_passes
from tune_spaces.shared import ATARI_BUDGETS, on, with_overrides
from tune_spaces.shared_atari import DEPARTURES, DM, SEEDS, columns

GAMES = ("breakout", "qbert")
PUBLISHED = {  # context length -> scores and deviations
    10: ((231.6, 56.4), (16.2, 16.6)),
    30: ((239.2, 42.3), (26.4, 8.5)),
    40: ((295.9, 28.1), (34.7, 4.5)),
    60: ((271.1, 15.7), (70.8, 5.5)),
}

TABLE = Table(
    name="dmamba_table4",
    title="Decision Mamba (Ota), Table 4: context length of DMamba on Atari",
    rows=tuple(
        on(
            GAMES,
            with_overrides(DM, context_length=length, updates=ten_passes(length, 256)),
            scores,
            label=f"DMamba, K = {length}",
            published_reading=LAST.name,
            published_std=dict(zip(GAMES, deviations, strict=True)),
        )
        for length, (scores, deviations) in PUBLISHED.items()
    ),
    columns=columns(*GAMES),
    seeds=SEEDS,
    protocol=OTA_ATARI,
    budgets=ATARI_BUDGETS,
    source=SOURCE.format(4),
    departures=(
        *DEPARTURES,
        "the printed deviations are too small, because the score of random play was subtracted from them too: at K = 30 they "
        "are 32.3 and 9.7 by the raw scores of Table 7",
    ),
)
