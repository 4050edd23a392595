"""Does bfloat16 learn what float32 learns? The quickstart's rows in both, with more seeds."""

from dataclasses import replace

from tune_spaces.quickstart import TABLE as QUICKSTART

TABLE = replace(
    QUICKSTART,
    name="precision",
    title="float32 and bfloat16, with the quickstart's protocol",
    rows=tuple(
        replace(row, label=f"{row.label}, {dtype}", overrides={**row.overrides, "dtype": dtype})
        for row in QUICKSTART.rows
        for dtype in ("float32", "bfloat16")
    ),
    seeds=(0, 1, 2, 3, 4),
    departures=(
        "the quickstart's protocol and settings, which were chosen on seeds 0 and 1 in float32: 2,000 updates, K = 8, "
        "width 64, 20 episodes per target and evaluation, 4 evaluations",
        "this table compares two number formats, row by row, and no architectures",
        "data collected by this project's own policy in Hopper-v5: no published number can stand beside these",
    ),
)
