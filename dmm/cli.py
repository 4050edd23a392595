"""The command line: a thin skin over the functions below it. What changes a number is a field in Python, not a flag here."""

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)
data = typer.Typer(no_args_is_help=True, help="Datasets and the behaviour policies that they come from.")
app.add_typer(data, name="data")


@app.callback()
def main() -> None:
    """Benchmarks offline-RL sequence models: Decision Transformer, Decision MetaMamba and their kin, on one protocol."""


@data.command("train-behaviour")
def train_behaviour(
    environment: Annotated[str, typer.Argument(help="A Gymnasium id with continuous actions, e.g. Hopper-v5.")],
    seed: int = 0,
    steps: Annotated[int, typer.Option(help="Environment steps at most.")] = 1_000_000,
    interval: Annotated[
        int, typer.Option(help="Steps between checkpoints; each is evaluated over 100 episodes.")
    ] = 20_000,
    width: Annotated[int, typer.Option(help="Width of the two hidden layers.")] = 128,
    batch_size: int = 128,
    medium: Annotated[tuple[float, float], typer.Option(help="Mean return of a medium policy: from, to.")] = (
        1200,
        2200,
    ),
    expert: Annotated[float, typer.Option(help="Mean return of an expert policy, at least.")] = 2500,
) -> None:
    """Trains a SAC behaviour policy; called again, it goes on. Example: `dmm data train-behaviour Hopper-v5 --seed 1`."""
    from dmm.behaviour import Recipe, train

    print(train(Recipe(environment, seed, medium, expert, steps, interval, width, batch_size)))
