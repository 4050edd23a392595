"""`dmm run` and `dmm evaluate`: one trial in this process."""

from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Annotated

import typer

from dmm.base.text_tables import counted, plain_table
from dmm.cli import completion
from dmm.cli.options import BUDGET, RETRAIN, SOURCE, TABLE, choose_table, command_line, stoppable

if TYPE_CHECKING:
    from dmm.config import Trial
    from dmm.schema import TrialResult

app = typer.Typer()
ROW = Annotated[str, typer.Argument(help="The label of a row.", autocompletion=completion.rows)]
SEED = Annotated[int, typer.Option(metavar="NUMBER", help="Any seed, also one that the table does not have.")]
COLUMN = Annotated[
    str,
    typer.Option(
        metavar="LABEL",
        help="The label of a column. Without it, the first column is taken.",
        autocompletion=completion.columns,
    ),
]


@app.command()
def run(
    context: typer.Context,
    table: TABLE,
    row: ROW,
    seed: SEED = 0,
    column: COLUMN = "",
    budget: BUDGET = "",
    source: SOURCE = "",
    retrain: RETRAIN = False,
) -> None:
    """Runs one trial of a table in this process.

    It needs neither Ray nor MLflow. The same command continues after a stop.

    Example: `dmm run quickstart DT --seed 1`
    """
    from dmm.contract import require
    from dmm.trials.run import WeightsNotKept

    trial = choose_trial(table, row, seed, column, budget, source)
    if trial.source:
        require(trial.source, dict(trial.overrides))
    try:
        finish(context, trial, retrain)
    except WeightsNotKept as error:
        raise ValueError(f"{error}: {command_line(context, '', '--retrain')}") from None


@app.command()
def evaluate(
    context: typer.Context,
    table: TABLE,
    row: ROW,
    seed: SEED = 0,
    column: COLUMN = "",
    budget: BUDGET = "",
    source: SOURCE = "",
) -> None:
    """Rolls out the kept weights of one trial as its table says.

    It trains nothing.

    Example: `dmm evaluate quickstart DT`
    """
    from dmm.trials.run import repair
    from dmm.trials.storage import load_training
    from dmm.trials.weights import missing_weights

    trial = choose_trial(table, row, seed, column, budget, source)
    repair(trial)
    if missing := missing_weights(trial):
        trained, updates = load_training(trial), ", ".join(f"{update:,}" for update in missing)
        again = ["--retrain"] if trained and trained.update >= missing[0] else []
        raise ValueError(
            f"trial {trial.weights_id} has no kept weights at update {updates}; "
            f"`{command_line(context, 'run', *again)}` trains it{' again' * len(again)}"
        )
    finish(context, trial, retrain=False)


def choose_trial(table: str, row: str, seed: int, column: str, budget: str, source: str) -> "Trial":
    """The trial that a command's words name, said in a line."""
    from dmm.config import cell_name, edited_code

    found = choose_table(table, budget, source)
    part = found.select([row], [column or found.columns[0].label])
    trial, name = part.trial(part.rows[0], part.columns[0], seed), cell_name(part.rows[0], part.columns[0])
    print(f"trial {trial.weights_id}, evaluation {trial.returns_id}: {name}, seed {seed}", flush=True)
    if edited := edited_code([trial]):
        print(edited, flush=True)
    return trial


def finish(context: typer.Context, trial: "Trial", retrain: bool) -> None:
    """Runs what is left of a trial, and prints its scores and where its model is."""
    from dmm.trials.progress import run_with_bar
    from dmm.trials.storage import returns_path
    from dmm.trials.weights import weights_folder

    with stoppable(context):
        result = run_with_bar(trial, retrain=retrain)
    print(scores(result))
    print(f"episodes    {returns_path(trial)}")
    print(f"model       {weights_folder(trial, trial.training.updates)}")
    print(f'in Python   dmm.load("{trial.returns_id}"{", trust_code=True" * bool(trial.source)})')


def scores(result: "TrialResult") -> str:
    """The last evaluation of a finished trial as text: a line for each target."""
    from dmm.trials.progress import last_evaluation

    newest, score = last_evaluation(result), result.task.normalised_score
    lines = [
        {
            "target": entry.target,
            "return asked for": f"{entry.asked:,.1f}",
            "return": f"{fmean(entry.returns):,.1f} ± {pstdev(entry.returns):,.1f}",
            "score": f"{score(fmean(entry.returns)):.1f} ± {pstdev(map(score, entry.returns)):.1f}",
        }
        for entry in newest
    ]
    episodes = counted(len(newest[0].returns), "episode")
    updates = counted(newest[0].update, "update")
    head = f"{result.status}: evaluation after {updates}, mean ± standard deviation of {episodes}"
    return f"{head}\n\n{plain_table(lines)}\n"
