"""The token mixer of DMM v2: its kind, whether layers share it, whether it is trained, and the SSM behind it."""

from dmm.config import Row, Table, grid
from tune_spaces.protocols import DMM_GYM
from tune_spaces.shared import DMM_V2, NO_PAPER, SEEDS, columns

KINDS = ("dense", "linear", "conv")
SHARING = ("per-layer", "shared", "frozen-shared")


def other(label: str, note: str, **overrides: object) -> Row:
    """DMM v2 with a mixer that is not in the grid."""
    return Row(label=label, arch="metamamba", preset="DMM v2", overrides=overrides, note=note)


TABLE = Table(
    name="dmm_v2_mixers",
    title="The token mixer of DMM v2: kind, sharing, training, and the SSM behind it",
    rows=(
        *grid(DMM_V2, mixer=KINDS, mixer_sharing=SHARING, ssm=("mamba1", "mamba2")),
        other(
            "DMM v2, linear over channels",
            "the linear mixer as the released code of v1 has it: a dense mixer with dead rows",
            mixer="linear",
            linear_over="channels",
        ),
        other(
            "DMM v2, no mixing",
            "a convolution of one token scales its channels and mixes no tokens, so the SSM alone does",
            mixer="conv",
            kernel_size=1,
        ),
        other(
            "DMM v2, no mixing, SSM with convolution",
            "the stock Mamba: its own convolution inside the SSM mixes tokens",
            mixer="conv",
            kernel_size=1,
            ssm_conv=True,
        ),
    ),
    columns=columns("hopper-medium"),
    seeds=SEEDS,
    protocol=DMM_GYM,
    departures=(
        NO_PAPER,
        "mixer dense has one linear map for all tokens, linear has one for each modality, and conv has a convolution for each",
        "a frozen mixer is shared by all layers, as in the released code on AntMaze and Kitchen. None is frozen layer by layer",
    ),
)
