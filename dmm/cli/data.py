"""`dmm data`: datasets, and the behaviour policies that collect them."""

from typing import Annotated

import typer

from dmm.base.text_tables import plain_table

app = typer.Typer(no_args_is_help=True, help="Datasets, and the behaviour policies that collect them.")


@app.command("list")
def list_() -> None:
    """Lists the datasets on this machine, and those that can be collected. Example: `dmm data list`."""
    from dataclasses import asdict

    from dmm.data.inventory import inventory

    print(plain_table([asdict(row) for row in inventory()]))


@app.command()
def verify() -> None:
    """Reads all cached datasets and compares their checksums. Rebuilds what is damaged. Example: `dmm data verify`."""
    from dmm.data.inventory import verify

    if not verify(print):
        raise typer.Exit(1)


@app.command()
def collect(
    dataset: Annotated[str, typer.Argument(help="dmm/TASK/POLICY-v0, e.g. dmm/hopper/medium-v0.")],
    steps: Annotated[
        int | None, typer.Option(help="Smallest number of steps, in whole episodes; default 100,000.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Default 0.")] = None,
) -> None:
    """Collects a Minari dataset with a behaviour policy. Example: `dmm data collect dmm/hopper/medium-v0`."""
    from dmm.data import load
    from dmm.data.readers.dmm import with_size

    print(load((with_size(dataset, steps, seed),), say=lambda line: print(line, flush=True)).summary())


@app.command("train-behaviour")
def train_behaviour(
    environment: Annotated[str, typer.Argument(help="A Gymnasium id with continuous actions, e.g. Hopper-v5.")],
    seed: int = 0,
    steps: Annotated[int, typer.Option(help="Largest number of environment steps.")] = 1_000_000,
    interval: Annotated[
        int, typer.Option(help="Steps between checkpoints. Each checkpoint is evaluated over 100 episodes.")
    ] = 20_000,
    width: Annotated[int, typer.Option(help="Width of the two hidden layers.")] = 128,
    batch_size: int = 128,
    medium: Annotated[tuple[float, float], typer.Option(help="Lowest and highest mean return of a medium policy.")] = (
        1200,
        2200,
    ),
    expert: Annotated[float, typer.Option(help="Lowest mean return of an expert policy.")] = 2500,
) -> None:
    """Trains a SAC behaviour policy. Called again, it continues. Example: `dmm data train-behaviour Hopper-v5 --seed 1`."""
    from dmm.data.behaviour import Recipe, train

    print(train(Recipe(environment, seed, medium, expert, steps, interval, width, batch_size)))
