"""`dmm bench` and `dmm doctor`: the speed of this machine, and its software."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def bench(
    what: Annotated[
        str,
        typer.Argument(
            help="One of sample, scan, train, rollout, atari, trials and growth, or all of them without growth."
        ),
    ] = "all",
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The folder of bench.md and bench.csv.")] = Path(
        "reports/bench"
    ),
    device: Annotated[str, typer.Option(metavar="NAME", help="The device: cpu or cuda.")] = "cpu",
    quick: Annotated[bool, typer.Option("--quick", help="Run two rounds of small sizes only.")] = False,
) -> None:
    """Times this code beside other implementations.

    They take turns in rounds. The other implementations are in the extra `bench`.

    Example: `dmm bench scan`
    """
    from dmm.bench import bench

    paths = bench(what, out, device, quick, say=lambda text: print(text, flush=True))
    print("\n".join(str(path) for path in paths))


@app.command()
def doctor() -> None:
    """Shows versions, devices, active kernels and DMM_HOME.

    Example: `dmm doctor`
    """
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
