"""`dmm run`: one trial in this process."""

from typing import TYPE_CHECKING, Annotated

import typer

from dmm.cli.options import TABLE

if TYPE_CHECKING:
    from dmm.schema import TrialResult

app = typer.Typer()


@app.command()
def run(
    table: TABLE,
    row: Annotated[str, typer.Argument(help="A row's label.")],
    seed: Annotated[int, typer.Option(help="Any seed, also one that the table does not have.")] = 0,
    column: Annotated[str, typer.Option(help="A column's label; default: the first column.")] = "",
) -> None:
    """Runs one trial of a table in this process, without Ray and MLflow. Example: `dmm run quickstart DT --seed 1`."""
    from dmm.tables import find_column, find_row, find_table
    from dmm.trials.run import run
    from dmm.trials.storage import result_path

    found = find_table(table)
    chosen = find_column(found, column) if column else found.columns[0]
    trial = found.trial(find_row(found, row), chosen, seed)
    print(f"trial {trial.id}: {row}, {chosen.label}, seed {seed}", flush=True)
    result = run(trial, on_progress=print_progress)
    print(f"{result.status}: {result_path(trial)}")


def print_progress(result: "TrialResult") -> None:
    """Prints the newest loss, and the mean return at each target if this update was evaluated."""
    newest = [evaluation for evaluation in result.evaluations if evaluation.update == result.update]
    returns = "  ".join(f"asked {e.asked:g} got {sum(e.returns) / len(e.returns):.1f}" for e in newest)
    loss = f"loss {result.loss[-1].loss:.4f}" if result.loss else ""
    print(f"update {result.update:>7,}  {loss}  {returns}", flush=True)
