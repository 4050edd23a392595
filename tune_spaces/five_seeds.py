"""The quickstart with five seeds, so that its report has something to say about chance."""

from dataclasses import replace

from tune_spaces.quickstart import TABLE as QUICKSTART

TABLE = replace(
    QUICKSTART,
    name="five_seeds",
    title="The quickstart with five seeds",
    seeds=(0, 1, 2, 3, 4),
    departures=(
        "the quickstart's settings, which were chosen on seeds 0 and 1: 2,000 updates, K = 8, width 64",
        "data collected by this project's own policy in Hopper-v5: no published number can stand beside these",
    ),
)
