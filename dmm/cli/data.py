"""`dmm data`: datasets, and the behaviour policies that collect them."""

from typing import Annotated

import typer

from dmm.base.text_tables import plain_table, wrapped
from dmm.cli import completion
from dmm.cli.options import stoppable

app = typer.Typer(help="Datasets, and the behaviour policies that collect them.")


@app.command("list")
def list_(
    remote: Annotated[
        bool,
        typer.Option("--remote", help="List what `dmm data download` gets. `minari list remote` lists Minari's."),
    ] = False,
) -> None:
    """Lists the datasets on this machine, and those that can be collected.

    Returns are undiscounted: their mean and standard deviation, the lowest and the highest of an episode.

    Example: `dmm data list --remote`
    """
    from dmm.data import downloadable_ids
    from dmm.data.inventory import COLLECTED, inventory, remote_datasets

    if remote:
        print(plain_table([vars(row) for row in remote_datasets()]))
        return
    rows = inventory()
    if here := [row for row in rows if row.source != COLLECTED]:
        print(plain_table([row.cells() for row in here]) + "\n")
    if others := [row.id for row in rows if row.source == COLLECTED]:
        print(f"{COLLECTED}:\n" + wrapped("", [", ".join(others)], indent=2) + "\n")
    print(f"{len(downloadable_ids())} datasets can be downloaded: `dmm data list --remote`")


@app.command()
def download(
    context: typer.Context,
    datasets: Annotated[
        list[str],
        typer.Argument(
            metavar="ID...",
            help="The ids of datasets: d4rl/NAME, minari/NAME, dqn/GAME, for example d4rl/hopper-medium-v2.",
            autocompletion=completion.downloadable,
        ),
    ],
    url_root: Annotated[
        str, typer.Option(metavar="URL", help="A mirror in the place of the source's own address. Not for minari.")
    ] = "",
) -> None:
    """Downloads datasets.

    The same command continues after a stop, and checks what is here. A file's first sha256 is recorded beside it, and another
    one is refused later. A medium-expert of the papers is two datasets, expert and medium.

    Example: `dmm data download d4rl/hopper-medium-v2`
    """
    from dmm.data import download

    with stoppable(context):
        for line in download(datasets, url_root):
            print(line, flush=True)


@app.command()
def verify() -> None:
    """Reads all cached datasets and all downloaded files, and compares their checksums.

    It rebuilds a damaged cache. A damaged download must be deleted and downloaded again.

    Example: `dmm data verify`
    """
    from dmm.data.inventory import verify

    if not verify(print):
        raise typer.Exit(1)


@app.command()
def collect(
    context: typer.Context,
    dataset: Annotated[
        str,
        typer.Argument(
            help="The id of a dataset: dmm/TASK/POLICY-v0, for example dmm/hopper/medium-v0.",
            autocompletion=completion.collectable,
        ),
    ],
    steps: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="The smallest number of steps, in whole episodes. Without it, 100,000."),
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="NUMBER", help="The seed of the episodes. Without it, 0.")] = None,
) -> None:
    """Collects a Minari dataset with a behaviour policy.

    Example: `dmm data collect dmm/hopper/medium-v0`
    """
    from dmm.data import load
    from dmm.data.readers.dmm import with_size

    with stoppable(context):
        print(load((with_size(dataset, steps, seed),)).summary())


@app.command("train-behaviour")
def train_behaviour(
    context: typer.Context,
    environment: Annotated[
        str, typer.Argument(help="A Gymnasium environment with continuous actions, for example Hopper-v5.")
    ],
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="The seed of the training.")] = 0,
    steps: Annotated[int, typer.Option(metavar="NUMBER", help="The largest number of environment steps.")] = 1_000_000,
    interval: Annotated[
        int, typer.Option(metavar="NUMBER", help="The steps between two evaluations of 100 episodes.")
    ] = 20_000,
    width: Annotated[int, typer.Option(metavar="NUMBER", help="The width of the two hidden layers.")] = 128,
    batch_size: Annotated[int, typer.Option(metavar="NUMBER", help="The steps in a batch.")] = 128,
    medium: Annotated[
        tuple[float, float],
        typer.Option(metavar="LOW HIGH", help="The lowest and the highest mean return of a medium policy."),
    ] = (1200, 2200),
    expert: Annotated[float, typer.Option(metavar="NUMBER", help="The lowest mean return of an expert policy.")] = 2500,
) -> None:
    """Trains a behaviour policy with SAC.

    The same command continues after a stop. It needs the extra `collect`.

    Example: `dmm data train-behaviour Hopper-v5 --seed 1`
    """
    from dmm.data.behaviour import Recipe, train

    with stoppable(context):
        folder = train(Recipe(environment, seed, medium, expert, steps, interval, width, batch_size))
    print(f"policies    {folder}")
