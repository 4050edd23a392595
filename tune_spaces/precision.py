"""Does bfloat16 learn what float32 learns? The quickstart's rows in both, with more seeds."""

from dataclasses import replace

from tune_spaces.quickstart import TABLE as QUICKSTART

SEEDS = (0, 1, 2, 3, 4)

TABLE = replace(
    QUICKSTART,
    name="precision",
    title="float32 and bfloat16, with the quickstart's protocol",
    rows=tuple(
        replace(row, label=f"{row.label}, {dtype}", protocol={**row.protocol, "dtype": dtype})
        for row in QUICKSTART.rows
        for dtype in ("float32", "bfloat16")
    ),
    seeds=SEEDS,
    departures=tuple(text.replace("2 seeds", f"{len(SEEDS)} seeds") for text in QUICKSTART.departures),
)
