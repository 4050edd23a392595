"""`dmm run` and `dmm evaluate`: one trial in this process."""

from typing import TYPE_CHECKING, Annotated

import typer

from dmm.cli.options import BUDGET, RETRAIN, SOURCE, TABLE, choose_table

if TYPE_CHECKING:
    from dmm.config import Trial
    from dmm.schema import TrialResult

app = typer.Typer()
ROW = Annotated[str, typer.Argument(help="A row's label.")]
SEED = Annotated[int, typer.Option(help="Any seed, also one that the table does not have.")]
COLUMN = Annotated[str, typer.Option(help="A column's label; default: the first column.")]


@app.command()
def run(
    table: TABLE,
    row: ROW,
    seed: SEED = 0,
    column: COLUMN = "",
    budget: BUDGET = "",
    source: SOURCE = "",
    retrain: RETRAIN = False,
) -> None:
    """Runs one trial of a table in this process, without Ray and MLflow. Example: `dmm run quickstart DT --seed 1`."""
    finish(choose_trial(table, row, seed, column, budget, source), retrain)


@app.command()
def evaluate(
    table: TABLE,
    row: ROW,
    seed: SEED = 0,
    column: COLUMN = "",
    budget: BUDGET = "",
    source: SOURCE = "",
) -> None:
    """Rolls out the kept weights of one trial as its table says. Trains nothing. Example: `dmm evaluate quickstart DT`."""
    from dmm.trials.run import repair
    from dmm.trials.weights import missing_weights

    trial = choose_trial(table, row, seed, column, budget, source)
    repair(trial)
    if missing := missing_weights(trial):
        updates = ", ".join(f"{update:,}" for update in missing)
        raise ValueError(
            f"trial {trial.weights_id} has no kept weights at update {updates}; `dmm run` with the same words trains "
            "it, and --retrain allows to train it again"
        )
    finish(trial, retrain=False)


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


def finish(trial: "Trial", retrain: bool) -> None:
    """Runs what is left of a trial."""
    from dmm.trials.run import run
    from dmm.trials.storage import returns_path

    result = run(trial, on_progress=print_progress, retrain=retrain)
    print(f"{result.status}: {returns_path(trial)}")


def print_progress(result: "TrialResult") -> None:
    """Prints the newest loss, and the mean return at each target of the newest evaluation."""
    last = result.evaluations[-1].update if result.evaluations else 0
    newest = [evaluation for evaluation in result.evaluations if evaluation.update == last]
    returns = "  ".join(f"{e.target}: asked {e.asked:g} got {sum(e.returns) / len(e.returns):.1f}" for e in newest)
    loss = f"loss {result.training.loss[-1].loss:.4f}" if result.training.loss else ""
    evaluated = f"evaluated at {last:,}: {returns}" if newest else ""
    print(f"update {result.update:>7,}  {loss}  {evaluated}", flush=True)
