"""The command line: a thin skin over the functions below it.

What changes a number is a field in a table's Python file, not a flag here. Heavy imports are inside the commands.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)
data = typer.Typer(no_args_is_help=True, help="Datasets, and the behaviour policies that they come from.")
app.add_typer(data, name="data")

TABLE = Annotated[str, typer.Argument(help="A table's name (see `dmm list`), or a path to its file.")]
URI = Annotated[
    str | None,
    typer.Option("--mlflow", envvar="MLFLOW_TRACKING_URI", help="MLflow tracking URI; default: sqlite in DMM_HOME."),
]


@app.callback()
def start() -> None:
    """Benchmarks offline-RL sequence models, Decision Transformer and Decision MetaMamba among them, on one protocol.

    Begin with `dmm show quickstart`, `dmm sweep quickstart`, `dmm report quickstart`. DMM_HOME (default ./.dmm) keeps
    data caches, trials and the local MLflow store.
    """


def table_text(rows: list[dict]) -> str:
    """Rows as aligned text."""
    from tabulate import tabulate

    return tabulate(rows, headers="keys", disable_numparse=True)


@app.command("list")
def list_(
    models: Annotated[
        bool, typer.Option("--models", help="Paper, tokens, mixers, size and quirks of each model.")
    ] = False,
) -> None:
    """Lists architectures, tasks, datasets, tables and profiles. Example: `dmm list --models`."""
    from dmm import catalogue

    if models:
        print("\n\n".join(catalogue.entries()))
        return
    from dmm.data import fetchable_ids, local_ids
    from dmm.models import find
    from dmm.models import models as names
    from dmm.sweeps.profile import profiles
    from dmm.tables import tables
    from dmm.tasks import TASKS

    summary = [
        {"architecture": name, "presets": ", ".join(find(name).presets), "name": catalogue.sections(name)["Name"]}
        for name in names()
    ]
    print(table_text(summary))
    print("\ntasks:    " + ", ".join(f"{task.name} ({task.environment})" for task in TASKS.values()))
    print("datasets: " + ", ".join(sorted({*local_ids(), *fetchable_ids()})) + " (more with `dmm data list`)")
    print("tables:   " + ", ".join(tables()))
    print("profiles: " + ", ".join(profiles()))


@app.command()
def show(table: TABLE) -> None:
    """Shows a table's trials, their ids, where they stand and what they will cost here. Example: `dmm show quickstart`."""
    from dmm.tables import find_table
    from dmm.trials.estimate import estimates
    from dmm.trials.storage import load_result

    found = find_table(table)
    cost, lines = estimates(found), []
    for row in found.rows:
        for column in found.columns:
            for trial in found.cell(row, column):
                so_far = load_result(trial) or {"status": "pending", "update": 0}
                lines.append(
                    {
                        "id": trial.id,
                        "row": row.label,
                        "column": column.label,
                        "seed": trial.seed,
                        "K": trial.protocol.context_length,
                        "updates": f"{so_far['update']:,}/{trial.protocol.updates:,}",
                        "state": so_far["status"],
                        "train": f"{cost[trial.id]['train'] / 60:.1f} min",
                        "rollouts": f"< {cost[trial.id]['rollout'] / 60:.1f} min",
                    }
                )
    print(f"{found.title}\nprotocol {found.protocol.name}, headline reading: {found.readings[0].describe()}\n")
    print(table_text(lines))
    total = sum(sum(entry.values()) for entry in cost.values()) / 3600
    print(f"\n{len(cost)} trials, {total:.2f} core-hours at most on this machine, physics apart")


@app.command()
def run(
    table: TABLE,
    row: Annotated[str, typer.Argument(help="A row's label.")],
    seed: Annotated[int, typer.Option(help="Any seed, the table's or another.")] = 0,
    column: Annotated[str, typer.Option(help="A column's label; default: the first.")] = "",
) -> None:
    """Runs one trial of a table in this process, without Ray and MLflow. Example: `dmm run quickstart DT --seed 1`."""
    from dmm.tables import find_column, find_row, find_table
    from dmm.trials.run import run
    from dmm.trials.storage import folder

    found = find_table(table)
    place = find_column(found, column) if column else found.columns[0]
    trial = found.trial(find_row(found, row), place, seed)

    def progress(result: dict) -> None:
        done = [entry for entry in result["evaluations"] if entry["update"] == result["update"]]
        scores = "  ".join(f"asked {e['asked']:g} got {sum(e['returns']) / len(e['returns']):.1f}" for e in done)
        loss = f"loss {result['loss'][-1][1]:.4f}" if result["loss"] else ""
        print(f"update {result['update']:>7,}  {loss}  {scores}", flush=True)

    print(f"trial {trial.id}: {row}, {place.label}, seed {seed}", flush=True)
    result = run(trial, progress=progress)
    print(f"{result['status']}: {folder(trial) / 'result.json'}")


@app.command()
def sweep(
    table: TABLE,
    profile: Annotated[str, typer.Option(help="Resources: a name (see `dmm list`) or a TOML file.")] = "laptop",
    mlflow: URI = None,
) -> None:
    """Runs a table's trials with Ray Tune; the same command goes on after an interruption. Example: `dmm sweep quickstart`."""
    from dmm.sweeps.profile import find_profile
    from dmm.sweeps.sweep import sweep
    from dmm.tables import find_table

    found = find_table(table)
    counts = sweep(found, find_profile(profile), mlflow, say=lambda line: print(line, flush=True))
    left = counts["total"] - counts["done"] - counts["failed"]
    print(f"{counts['done']} of {counts['total']} trials done, {counts['failed']} failed, {left} left")
    if left:  # Ctrl-C or SIGTERM
        print("stopped; the same command goes on")
        raise typer.Exit(130)
    if counts["failed"] or counts["unsent"]:
        raise typer.Exit(1)
    print(f"now: dmm report {table}")


@app.command()
def status(
    table: TABLE,
    mlflow: Annotated[str | None, typer.Option(help="Read this tracking store, not the files in DMM_HOME.")] = None,
) -> None:
    """Says where a table's trials stand: done, running, failed and why, time left. Example: `dmm status quickstart`."""
    from dmm.sweeps.jobs import status
    from dmm.tables import find_table

    print("\n".join(status(find_table(table), mlflow)))


@app.command()
def sync(table: TABLE, mlflow: URI = None) -> None:
    """Sends a table's results to MLflow, a new one too; nothing comes twice. Example: `dmm sync quickstart`."""
    from dmm.sweeps.jobs import sync
    from dmm.tables import find_table

    print(f"{sync(find_table(table), mlflow)} results are in MLflow")


@app.command()
def submit(
    table: TABLE,
    profile: Annotated[str, typer.Option(help="Resources: a name (see `dmm list`) or a TOML file.")] = "laptop",
    address: Annotated[
        str, typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="The dashboard of the cluster's head.")
    ] = "http://127.0.0.1:8265",
    working_dir: Annotated[Path, typer.Option(help="The folder that travels with the job.")] = Path("."),
    mlflow: URI = None,
) -> None:
    """Submits a sweep as a Ray job, after checking upload, head and MLflow. Example: `dmm submit quickstart`."""
    from dmm.sweeps.jobs import submit
    from dmm.sweeps.profile import find_profile
    from dmm.tables import find_table

    find_profile(profile)
    words = [table, "--profile", profile]
    submit(find_table(table), words, address=address, folder=working_dir, uri=mlflow)


@app.command()
def report(
    table: TABLE,
    out: Annotated[Path, typer.Option(help="Folder; the table gets its own in it.")] = Path("reports"),
    mlflow: URI = None,
) -> None:
    """Rebuilds a table from MLflow: Markdown, CSV, cost, figure, manifest. Example: `dmm report quickstart`."""
    from dmm.base import provenance
    from dmm.results.report import write
    from dmm.tables import find_table
    from dmm.tracking.mlflow_store import Recorder

    found = find_table(table)
    recorder = Recorder(mlflow)
    summaries = recorder.summaries(found)
    source = {**recorder.provenance(found), "commit": provenance.commit(), "versions": provenance.versions()}
    paths = write(found, summaries, out / found.name, source)
    recorder.upload(out / found.name, found)
    print((out / found.name / "table.md").read_text())
    print("\n".join(str(path) for path in paths))
    print(recorder.view_link(found.name))


@app.command()
def bench(
    what: Annotated[
        str, typer.Argument(help="sample, scan, train, rollout, trials, growth, or all but growth.")
    ] = "all",
    out: Annotated[Path, typer.Option(help="Folder of bench.md and bench.csv.")] = Path("reports/bench"),
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    quick: Annotated[bool, typer.Option(help="Smoke test: two rounds, small sizes.")] = False,
) -> None:
    """Measures our speed beside the peers' (extra `bench`), as ratios of interleaved rounds. Example: `dmm bench scan`."""
    from dmm.bench import bench

    paths = bench(what, out, device, quick, say=lambda text: print(text, flush=True))
    print("\n".join(str(path) for path in paths))


@app.command()
def doctor() -> None:
    """Says what is here and which paths are active: versions, devices, kernels, folders. Example: `dmm doctor`."""
    import torch

    from dmm.base import provenance
    from dmm.base.paths import home
    from dmm.kernels import active

    for name, value in provenance.versions().items():
        print(f"{name:<14} {value}")
    print(f"machine        {provenance.machine()}")
    print(f"DMM_HOME       {home()}")
    for device in ["cpu"] + (["cuda"] if torch.cuda.is_available() else []):
        print(f"scan on {device:<6} {active(device)}")


@data.command("list")
def data_list() -> None:
    """Lists datasets: what is here, and what can be collected. Example: `dmm data list`."""
    from dataclasses import asdict

    from dmm.data.inventory import inventory

    print(table_text([asdict(row) for row in inventory()]))


@data.command()
def collect(
    dataset: Annotated[str, typer.Argument(help="dmm/TASK/POLICY-v0, e.g. dmm/hopper/medium-v0.")],
    steps: Annotated[int | None, typer.Option(help="At least so many, in whole episodes; default 100,000.")] = None,
    seed: Annotated[int | None, typer.Option(help="Default 0.")] = None,
) -> None:
    """Rolls a behaviour policy into a Minari dataset. Example: `dmm data collect dmm/hopper/medium-v0`."""
    from dmm.data import load
    from dmm.data.readers.dmm import with_size

    print(load((with_size(dataset, steps, seed),), say=lambda line: print(line, flush=True)).summary())


@data.command("train-behaviour")
def train_behaviour(
    environment: Annotated[str, typer.Argument(help="A Gymnasium id with continuous actions, e.g. Hopper-v5.")],
    seed: int = 0,
    steps: Annotated[int, typer.Option(help="Environment steps at most.")] = 1_000_000,
    interval: Annotated[
        int, typer.Option(help="Steps between checkpoints, each evaluated over 100 episodes.")
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
    from dmm.data.behaviour import Recipe, train

    print(train(Recipe(environment, seed, medium, expert, steps, interval, width, batch_size)))


def main() -> None:
    """Runs the command line; what a user got wrong is one line and exit code 2."""
    try:
        app()
    except ValueError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
