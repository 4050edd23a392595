"""Decision MetaMamba v1, Table 4 (Appendix A): a Decision Transformer with an SSM in the place of its MLP."""

from dmm.config import Row, Table
from tune_spaces.dmm_v1_table1 import HIGHEST, UNSTATED
from tune_spaces.protocols import DMM_GYM
from tune_spaces.shared import DT, SEEDED, SEEDS, SIMULATOR, columns, on

LABELS = ("hopper-medium", "hopper-medium-replay")
SSM = {"arch": "attention_ssm", "overrides": {"context_length": 20}}

TABLE = Table(
    name="dmm_v1_table4",
    title="Decision MetaMamba v1, Table 4: self-attention with an MLP or with an SSM",
    rows=(
        on(LABELS, DT, (68.4, 82.5), label="Self-Attention", note="this is DT, with the trials of Table 1",
           not_comparable=UNSTATED),
        on(LABELS, Row(label="Self-Attention + SSM", preset="SA + SSM", **SSM), (83.6, 90.3), published_reading=HIGHEST),
        on(LABELS, Row(label="Self-Attention + SSM with convolution", preset="SA + SSM with convolution", **SSM),
           note="not in the paper, which does not say whether the SSM has its convolution"),
    ),
    columns=columns(*LABELS),
    seeds=SEEDS,
    protocol=DMM_GYM,
    source="arXiv 2408.10517v1, Table 4: the first row has the values of DT in Table 1, which are the highest of five runs",
    departures=(
        SIMULATOR,
        SEEDED,
        "a reconstruction from the text, which has no code: the SSM has no convolution, time steps are embedded, and K = 20 "
        "and width 128 are those of DT",
    ),
)  # fmt: skip
