"""What the released code does beside what the papers say, one difference at a time."""

from dataclasses import replace

from dmm.config import Row, Table
from tune_spaces.protocols import DMM_GYM, EDT_PER_COLUMN
from tune_spaces.shared import DM, DMM_V2, DT, EDT, NO_PAPER, SEEDS, columns, on, with_laptop, with_overrides

LABELS = ("hopper-medium",)
PADS = {"pad_state": "normalised zero", "pad_action": 0.0}


def v1(label: str, preset: str, note: str = "", beside: str = "", **overrides: object) -> Row:
    """A preset of DMM v1. With `beside` it differs in one thing from that row."""
    return Row(label=label, arch="metamamba", preset=preset, overrides=overrides, note=note, beside=beside)


def changed(row: Row, label: str, note: str, beside: str = "", **overrides: object) -> Row:
    """A shared row with one difference from itself, or from the row `beside`."""
    name = f"{row.label}, {label}"
    return on(LABELS, replace(with_overrides(row, **overrides), label=name, beside=beside or row.label), note=note)


ROWS = (
    v1("DMM-C", "DMM-C", "as released: no residual around the SSM"),
    v1("DMM-C, residual", "DMM-C", "the usual reading of the text: a residual around the SSM", "DMM-C", residual=True),
    v1("DMM-L", "DMM-L, as published", "as released: the three maps alternate over channels, and there is no residual"),
    v1("DMM-L, tokens", "DMM-L, as meant", "as in the text: each modality has its own map of tokens", "DMM-L"),
    v1(
        "DMM-L, tokens, residual",
        "DMM-L, as meant",
        "as in the text, with a residual around the SSM",
        "DMM-L, tokens",
        residual=True,
    ),
    v1("DMM-DL", "DMM-DL, as published", "as released: the three maps alternate over channels"),
    v1("DMM-DL, tokens", "DMM-DL, as meant", "as in the text: each modality has its own map of tokens", "DMM-DL"),
    on(LABELS, DMM_V2, note="as released for locomotion: each layer has its own mixer, and it is trained"),
    changed(
        DMM_V2,
        "frozen mixer",
        "as released for AntMaze and Kitchen: one mixer for all layers, never trained",
        beside="DMM v2, shared mixer",
        mixer_sharing="frozen-shared",
    ),
    changed(DMM_V2, "shared mixer", "one mixer for all layers, trained", mixer_sharing="shared"),
    changed(
        DMM_V2,
        "a norm for each layer",
        "the released code shares one pair of norms. Here each layer has its own",
        shared_norms=False,
    ),
    changed(
        DMM_V2,
        "stock step size",
        "the released code overwrites the initial step size of Mamba. Here it stays",
        dt_init="stock",
    ),
    changed(
        DMM_V2, "same pads", "pads of training are those of rollouts: zero after normalisation, and action 0", **PADS
    ),
    changed(
        DMM_V2, "Mamba-2", "as released without causal_conv1d: the convolution of Mamba-2 does not run", ssm="mamba2"
    ),
    changed(
        DMM_V2,
        "Mamba-2 with convolution",
        "as released with causal_conv1d: the convolution of Mamba-2 runs",
        beside="DMM v2, Mamba-2",
        ssm="mamba2",
        ssm_conv=True,
    ),
    on(LABELS, DM, label="DMamba", note="as released: the initial step size of Mamba is overwritten"),
    changed(replace(DM, label="DMamba"), "stock step size", "the initial step size of Mamba stays", dt_init="stock"),
    on(LABELS, DT, note="as released: pads of training are not those of rollouts"),
    changed(
        DT,
        "same pads",
        "pads of training are those of rollouts. They change nothing, because the attention of DT does not see pads",
        **PADS,
    ),
    on(LABELS, EDT, note="as its evaluation script: returns are sampled. One target, 2 evaluations of 20 episodes"),
    on(
        LABELS,
        replace(EDT, preset="EDT, expectile", per_column=EDT_PER_COLUMN),
        label="EDT, expectile",
        beside="EDT",
        note="as the paper says: the expectile is fed back. The same weights as EDT",
    ),
)

TABLE = Table(
    name="as_published",
    title="The released code beside the papers' text, one difference at a time",
    rows=ROWS,
    columns=columns(*LABELS),
    seeds=SEEDS,
    protocol=DMM_GYM,
    # an update of EDT takes as long as a hundred of DMM v2, and each step of its rollouts has twenty passes
    budgets=with_laptop((row for row in ROWS if row.arch != "edt"), seeds=5),
    departures=(
        NO_PAPER,
        "each row but the first of a system differs in one thing from another row. Its note names the thing",
        "widths are those of the papers on hopper-medium: DMM-C, DMM-L and DT 128, DMM-DL and DMM v2 64, DMamba 256",
    ),
)
